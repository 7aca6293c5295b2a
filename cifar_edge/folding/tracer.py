"""The graph of a network by ``torch.fx``, and all that is computed in it for some images: `values`.

Values are computed while the network is traced, so that its code may ask for the shape of an activation.
"""

import inspect
import traceback
from functools import cached_property
from typing import Any

from torch import Tensor, fx, nn

from cifar_edge.errors import ExportError
from cifar_edge.folding.forms import BATCH_NORMS, FITTED_NORMS, Shape
from cifar_edge.messages import reason

_OF_SHAPE = {"shape", "ndim", "size", "dim", "numel", "dtype", "device", "is_cuda"}
"""What a network may ask of an activation without depending on the images."""

_TRANSFORMS = "torchvision.transforms"


class _Activation(fx.Proxy):
    """A value that tells its shape while it is traced, so that an `assert`, `if` or `for` may depend on that."""

    def __init__(self, node: fx.Node, tracer: fx.Tracer, value: Tensor) -> None:
        self._value = value
        super().__init__(node, tracer)

    def __getattr__(self, k: str) -> Any:
        return getattr(self._value, k) if k in _OF_SHAPE else super().__getattr__(k)

    def __len__(self) -> int:
        return len(self._value)


class _Tracer(fx.Tracer):
    """Traces into every module but PyTorch's own, and norms, and computes each value on the way.

    Attributes:
        values: of each node.
        place: the innermost module in which tracing has failed.
    """

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.values: dict[fx.Node, Any] = {}
        self.place = ""
        self._x = x
        self._computes = False

    @cached_property
    def _interpreter(self) -> fx.Interpreter:
        made = fx.Interpreter(self.root, garbage_collect_values=False, graph=self.graph)
        made.env, made.args_iter = self.values, iter([self._x])
        return made

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        inherited = type(m).forward.__module__.startswith("torch.nn")
        norm = isinstance(m, (*BATCH_NORMS, *FITTED_NORMS)) and (inherited or isinstance(m, nn.LayerNorm))
        return norm or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._computes:
            return forward(*args, **kwargs)
        names = (name for name, module in self.root.named_modules() if module is m)
        name = next(names, None)
        if type(m).__module__.startswith(_TRANSFORMS):
            raise _transform(name or "forward", m)
        if name is None:  # it is made in a forward, so that what its own forward does is traced
            return forward(*args, **kwargs)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.place = self.place or name
            raise

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self._computes else super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        self._computes = True
        try:
            self.values[node] = self._interpreter.run_node(node)
        finally:
            self._computes = False
        return node

    def proxy(self, node: fx.Node) -> fx.Proxy:
        value = self.values[node]
        return _Activation(node, self, value) if isinstance(value, Tensor) else super().proxy(node)


def _transform(place: str, transform: object = None) -> ExportError:
    """The refusal of a transform of torchvision, which looks at the type of its input.

    Args:
        place: where it is in the network.
        transform: the module, if there is one.
    """
    if transform is not None and {"mean", "std"} <= vars(transform).keys():
        mean, std = (", ".join(f"{255 * value:.6g}" for value in vars(transform)[name]) for name in ("mean", "std"))
        advice = f"take it out, and give mean=({mean}) and std=({std}), 255 times its own, if its input was from 0 to 1"
    else:
        advice = "leave it to what makes the images, and give a Normalize as mean and std, 255 times its own"
    name = "transforms" if transform is None else type(transform).__name__
    return ExportError(f"{place}: {name} of torchvision cannot be traced; {advice}")


def _comes_of_a_transform(error: Exception) -> bool:
    frames = traceback.walk_tb(error.__traceback__)
    return any(str(frame.f_globals.get("__name__")).startswith(_TRANSFORMS) for frame, _ in frames)


def values(network: nn.Module, x: Tensor) -> tuple[fx.Graph, dict[str, Shape], dict[str, Any]]:
    """The graph, the shape of each activation, and the constants, by the names of their nodes.

    A constant is a weight, what is computed of weights alone, or a number.

    Raises:
        ExportError: what the network computes depends on the images in a way that `torch.fx` cannot follow.
    """
    tracer = _Tracer(x.clone())
    kept = {module: dict(vars(module)) for module in network.modules()}
    try:
        graph = tracer.trace(network, _defaults(network))
    except ExportError:
        raise
    except Exception as error:  # the network's own code may fail in any way where it gets no tensors
        if _comes_of_a_transform(error):
            raise _transform(tracer.place or "forward") from error
        place = f" in {tracer.place}" if tracer.place else ""
        raise ExportError(
            f"torch.fx cannot trace the network{place}: {reason(error)}; what is computed must not depend on the "
            "images, as in `if x.mean() > 0`, `for part in x` or `isinstance(x, Tensor)`"
        ) from error
    finally:
        for module, attributes in kept.items():  # some networks keep activations, and torch.fx keeps constants in them
            vars(module).clear()
            vars(module).update(attributes)
    shapes: dict[str, Shape] = {}
    constants: dict[str, Any] = {}
    for node, value in tracer.values.items():
        inputs = [each.name in constants for each in node.all_input_nodes]
        if node.op == "get_attr" or (node.op != "output" and inputs and all(inputs)):
            constants[node.name] = value
        elif isinstance(value, Tensor):
            shapes[node.name] = tuple(value.shape)
        elif isinstance(value, tuple | list) and any(isinstance(each, Tensor) for each in value):
            shapes[node.name] = ()  # of a split, which is refused
        else:
            constants[node.name] = value
    return graph, shapes, constants


def _defaults(network: nn.Module) -> dict[str, Any] | None:
    """The arguments of the network's forward that need not be given, such as ``return_features=False``."""
    parameters = list(inspect.signature(network.forward).parameters.values())[1:]
    simple = (bool, int, float, str, type(None))
    return {each.name: each.default for each in parameters if isinstance(each.default, simple)} or None
