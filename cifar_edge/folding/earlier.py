"""Folded networks as earlier versions wrote them: all of them gn-cnn's, without a description of their geometry.

Their tensors are called ``convolutions.N``, ``norms.N`` and ``head``, N counted along the chain.
"""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from cifar_edge.folding.gn_cnn import unfitted
from cifar_edge.folding.network import BatchNormNetwork, FoldedNetwork
from cifar_edge.models.gn_cnn import GnCnn

_NAME = re.compile(r"((?:network|average|momentum)\.)?(convolutions\.\d+|norms\.\d+|head)(\.\w+)")


def undescribed(network: nn.Module) -> FoldedNetwork:
    """The folded form of ``network``, for a file that does not say it.

    Raises:
        ValueError: earlier versions did not fold such a network.
    """
    if not isinstance(network, GnCnn):
        raise ValueError("it does not say of which layers it is")
    return unfitted(network)


def current_names(tensors: Mapping[str, Tensor], network: FoldedNetwork | BatchNormNetwork) -> dict[str, Tensor]:
    """``tensors`` of a file of weights, or of a state of ``network``, by the names that they have today."""
    today: dict[str, str] = {}
    convolutions = norms = 0
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            today[f"convolutions.{convolutions}"] = name
            convolutions += 1
        elif isinstance(module, nn.BatchNorm2d):
            today[f"norms.{norms}"] = name
            norms += 1
        elif isinstance(module, nn.Linear):
            today["head"] = name

    def current(name: str) -> str:
        match = _NAME.fullmatch(name)
        return f"{match[1] or ''}{today[match[2]]}{match[3]}" if match and match[2] in today else name

    return {current(name): tensor for name, tensor in tensors.items()}
