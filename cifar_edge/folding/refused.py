"""How a layer that integers cannot compute is refused: its name, and what to write instead."""

from collections.abc import Mapping
from typing import Self

from cifar_edge.messages import with_article

ADVICE: Mapping[str, str] = {
    "add": "add the outputs of two layers, or leave it out",
    "activation": "write nn.ReLU or nn.ReLU6, and train again",
    "gate": "write nn.ReLU, or leave out the gate that it is part of, such as squeeze-and-excitation, and train again",
    "sub": "add the branches, since only sums join them, and train again",
    "mul": "leave out gates and squeeze-and-excitation, and train again",
    "cat": "add the branches, with a 1x1 convolution where their channels differ, and train again",
    "softmax": "leave it out: the network returns logits",
    "attention": "write convolutions, and train again",
    "permute": "move the channels by permute(0, 2, 3, 1), and back by permute(0, 3, 1, 2)",
    "other": "docs/own-network.md lists the layers that are",
}


class Refused(Exception):
    """A layer that integers cannot compute.

    Attributes:
        what: the layer, for the message.
        advice: what to write instead.
    """

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.what, self.advice = what, advice

    @classmethod
    def of(cls, target: object) -> Self:
        """A module, a function or the name of a method that has no form at all."""
        name = target if isinstance(target, str) else getattr(target, "__name__", type(target).__name__)
        found = next((kind for words, kind in _KINDS if any(word in name.lower() for word in words)), "other")
        return cls(with_article(name), ADVICE[found])


_KINDS = (
    (("pixel", "convtranspose", "conv_transpose"), "other"),
    (("softmax",), "softmax"),
    (("logsigmoid", "silu", "gelu", "swish", "mish", "elu", "tanh", "relu", "softplus"), "activation"),
    (("sigmoid",), "gate"),
    (("attention", "matmul", "bmm", "einsum"), "attention"),
    (("mul", "div"), "mul"),
    (("sub",), "sub"),
    (("cat", "stack", "split", "chunk"), "cat"),
    (("permute", "transpose", "movedim", "swapaxes"), "permute"),
)
"""Parts of names -> the advice."""
