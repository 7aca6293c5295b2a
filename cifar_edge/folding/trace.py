"""From any PyTorch network to a tree of layers: `trace`, by ``torch.fx``.

A network whose layers follow each other, with sums of two branches here and there, is a tree: a chain of layers, in
which each sum is a `cifar_edge.folding.layers.Residual` of two chains. The branches of a sum begin at the last value
that both are computed of: its immediate dominator in the graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from cifar_edge.errors import ExportError
from cifar_edge.folding import channels_last
from cifar_edge.folding.affines import ARITHMETIC, affine
from cifar_edge.folding.forms import ADDS, Shape, forms
from cifar_edge.folding.layers import Residual
from cifar_edge.folding.refused import ADVICE, Refused
from cifar_edge.folding.tracer import values
from cifar_edge.messages import reason, with_article

_AGREEMENT = 1e-3
"""How far the logits of the tree may differ from those of the network, as a fraction of the largest."""

_ROOT = "forward"
"""The place of what is computed in the network's own forward."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A network as a tree.

    Attributes:
        layers: they compute what the network does, norms included.
        names: module in ``layers`` -> its name in the network, such as ``features.3.conv``.
    """

    layers: nn.Sequential
    names: Mapping[nn.Module, str]


@torch.no_grad()
def trace(network: nn.Module, x: Tensor) -> Trace:
    """The layers of ``network``, copied.

    Args:
        network: on the CPU, in evaluation mode.
        x: two images or more as the network takes them, float32 ``[n, 3, S, S]``.

    Raises:
        ExportError: it has a layer that integers cannot compute, or is no chain of layers with residuals.
    """
    logits = classify(network, x)
    found = _Tree(network, *values(network, x)).trace()
    difference = float((found.layers(x.clone()) - logits).abs().max())
    if not difference <= _AGREEMENT * max(float(logits.abs().max()), 1e-6):
        raise ExportError(
            "the layers that torch.fx finds do not compute what the network does: a module may change its input in "
            "place where another one reads it too, or a hook its output; leave out inplace=True, += and hooks there"
        )
    return found


def classify(network: nn.Module, x: Tensor) -> Tensor:
    """The logits of ``network``.

    Raises:
        ExportError: it fails, or returns anything but finite float32 logits.
    """
    try:
        logits = network(x.clone())
    except Exception as error:  # the network's own code may fail in any way
        raise ExportError(
            f"the network cannot classify images of {x.shape[-1]}x{x.shape[-1]} pixels: {reason(error)}"
        ) from error
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(x):
        found = f"a tensor {list(logits.shape)}" if isinstance(logits, Tensor) else with_article(type(logits).__name__)
        raise ExportError(f"the network returns {found}; a classifier returns logits, [batch, classes]")
    if logits.dtype != torch.float32:
        raise ExportError(
            f"the network returns {str(logits.dtype).removeprefix('torch.')}; a classifier returns logits in float32"
        )
    if not logits.isfinite().all():
        raise ExportError("the network answers images with NaN or infinity; its training went wrong")
    return logits


class _Tree:
    """The tree while it is made."""

    def __init__(
        self, network: nn.Module, graph: fx.Graph, shapes: Mapping[str, Shape], constants: Mapping[str, Any]
    ) -> None:
        self._network, self._graph, self._shapes, self._constants = network, graph, shapes, constants
        self._names: dict[nn.Module, str] = {}
        self._seen: set[fx.Node] = set()
        self._dominators: dict[fx.Node, tuple[fx.Node, int]] = {}  # with the number of those before it
        self._called: set[nn.Module] = set()
        self._last: set[fx.Node] = set()  # those whose channels a permute has moved last
        self._steps: dict[fx.Node, tuple[list[nn.Module], fx.Node]] = {}

    def trace(self) -> Trace:
        inputs = (node for node in self._graph.nodes if node.op == "placeholder" and not node.args)
        start, *others = [node for node in inputs if not str(node.target).startswith("*")] or [None]
        for node in self._graph.nodes:
            _make_positional(node)
        if others:
            raise ExportError(f"the network takes {1 + len(others)} inputs; a classifier takes one, the images")
        if start is None:
            raise ExportError("the forward of the network names no input without a default; write forward(self, x)")
        self._dominators[start] = start, 0
        (output,) = (node for node in self._graph.nodes if node.op == "output")
        used = self._used(output)
        for node in self._graph.nodes:
            if node not in used:
                continue
            if known := [each for each in self._inputs(node) if each in self._dominators]:
                dominator = known[0]
                for other in known[1:]:
                    dominator = self._common(dominator, other)
                self._dominators[node] = dominator, self._dominators[dominator][1] + 1
                if not self._last.isdisjoint(known):
                    self._last.add(node)
                if node.name in self._shapes and node.op != "output" and not self._is_sum(node):
                    self._steps[node] = self._step(node)  # in their order, so that the first one is refused
        return Trace(self._chain(output.args[0], start), self._names)

    def _inputs(self, node: fx.Node) -> list[fx.Node]:
        """The activations that ``node`` reads; not its weights, nor shapes."""
        return [each for each in node.all_input_nodes if each.name in self._shapes]

    def _used(self, output: fx.Node) -> set[fx.Node]:
        """The nodes that ``output`` is computed of."""
        used: set[fx.Node] = set()
        left = [output]
        while left:
            node = left.pop()
            if node not in used:
                used.add(node)
                left += self._inputs(node)
        return used

    def _common(self, one: fx.Node, other: fx.Node) -> fx.Node:
        """The nearest node that dominates both."""
        while one is not other:
            if self._dominators[one][1] < self._dominators[other][1]:
                one, other = other, one
            one = self._dominators[one][0]
        return one

    def _chain(self, end: Any, start: fx.Node) -> nn.Sequential:
        """The layers from the output of ``start`` to that of ``end``."""
        parts: list[list[nn.Module]] = []
        while end is not start:
            if end in self._seen or end not in self._dominators:
                raise ExportError(
                    f"{_place(end)}: branches of the network cross here; an integer network is a chain of layers with "
                    "residuals, whose two branches begin at one layer and end in one add"
                )
            self._seen.add(end)
            made, end = self._residual(end) if self._is_sum(end) else self._steps[end]
            parts.append(made)
        return nn.Sequential(*(module for part in reversed(parts) for module in part))

    def _is_sum(self, node: fx.Node) -> bool:
        """Whether it adds activations, and not a constant to one."""
        return (
            node.target in ADDS
            and sum(isinstance(each, fx.Node) and each.name in self._shapes for each in node.args) > 1
        )

    def _residual(self, node: fx.Node) -> tuple[list[nn.Module], fx.Node]:
        """The sum that ``node`` is, and the node that it begins at."""
        ends = self._inputs(node)
        kinds = {(self._shapes[each.name], each in self._last) for each in ends}
        if len(ends) == 1:
            raise _refusal(node, Refused("an add of an output to itself", "write 2 * x"))
        if (
            len(ends) != len(node.args)
            or node.kwargs
            or len(kinds) > 1
            or len(self._shapes[ends[0].name]) not in (2, 4)
        ):
            raise _refusal(node, Refused("an add of anything but two outputs of one shape", ADVICE["add"]))
        fork = self._dominators[node][0]
        first, second = (self._chain(end, fork) for end in ends)
        residual = Residual(*((second, first) if len(first) < len(second) else (first, second)))
        self._names[residual] = _name(node)
        return [residual], fork

    def _step(self, node: fx.Node) -> tuple[list[nn.Module], fx.Node]:
        """The layers that ``node`` is, and the node that they read."""
        inputs = self._inputs(node)
        target: Any = node.target
        if node.op == "call_module":
            target = self._network.get_submodule(str(node.target))
            if target in self._called and any(True for _ in target.parameters()):
                raise ExportError(f"{node.target}: this module is called twice; write one for each call")
            self._called.add(target)
        try:
            arithmetic = target in ARITHMETIC and len(node.args) == 2 and not node.kwargs
            if len(inputs) != 1 or (node.args[:1] != (inputs[0],) and not arithmetic):
                raise Refused.of(target)
            arguments, settings = fx.node.map_arg((node.args[1:], dict(node.kwargs)), self._constant)
            if arithmetic:
                operands = [None if each is inputs[0] else fx.node.map_arg(each, self._constant) for each in node.args]
                made = affine(target, operands, self._shapes[inputs[0].name], last=node in self._last)
            elif target in channels_last.PERMUTES:
                self._last ^= {node}
                made = channels_last.permuted(arguments, settings, last=node in self._last)
            else:
                build = channels_last.forms if node in self._last else forms
                made = build(target, arguments, settings, self._shapes[inputs[0].name], self._shapes[node.name])
        except Refused as error:
            raise _refusal(node, error) from error
        self._names.update(dict.fromkeys(made, _name(node)))
        return made, inputs[0]

    def _constant(self, node: fx.Node) -> Any:
        """The constant that ``node`` is; of a shape or an activation the node itself."""
        return self._constants.get(node.name, node)


def _make_positional(node: fx.Node) -> None:
    """Move the operands of ``node`` that are given by name to where they are given without."""
    operands, settings = list(node.args), dict(node.kwargs)
    for place, name in enumerate(("input", "other")):
        if len(operands) == place and name in settings:
            operands.append(settings.pop(name))
    if settings.get("alpha") == 1:
        del settings["alpha"]
    node.args, node.kwargs = tuple(operands), settings


def _place(node: fx.Node) -> str:
    """Where ``node`` is in the network: the name of its module, or of the module whose forward computes it."""
    if node.op == "call_module":
        return str(node.target)
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack and stack[-1][0] else _ROOT


def _name(node: fx.Node) -> str:
    """The name of its module, or of the module that computes it; in the network's own forward that of the function."""
    place = _place(node)
    return node.name if place == _ROOT else place


def _refusal(node: fx.Node, error: Refused) -> ExportError:
    return ExportError(f"{_place(node)}: {error.what} is no layer of an integer network; {error.advice}")
