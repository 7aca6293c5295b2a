"""The registry of networks: each by name, with its default recipe."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor, nn

from cifar_edge.errors import ModelError, RecipeError
from cifar_edge.messages import did_you_mean
from cifar_edge.models.gn_cnn import (
    EARLIER_GN_CNN_LAYERS,
    GN_CNN_LAYERS,
    GN_CNN_MAX_LAYERS,
    GN_CNN_NANO_LAYERS,
    GnCnn,
    Layer,
)
from cifar_edge.models.reference import batch_norm, group_norm, layer_norm, reference_network, unnormalized_network
from cifar_edge.models.wide_resnet import WideResNet
from cifar_edge.runs.recipe import FoldRecipe, Recipe
from cifar_edge.spec import IMAGE_SIZE


@dataclass(frozen=True, slots=True)
class Family:
    """One registered network.

    Attributes:
        construct: number of classes and size S -> the untrained module; float32 ``[batch, 3, S, S]`` in, logits out.
        recipe: the default one, without the name; `default_recipe` adds that.
        earlier: constructs what earlier versions of this package built by that name, so that their weights still load.
    """

    construct: Callable[[int, int], nn.Module]
    recipe: Recipe = field(default_factory=Recipe)
    earlier: Callable[[int, int], nn.Module] | None = None


_REFERENCE_RECIPE = Recipe(batch_size=64, learning_rate=0.1, crop=2, weight_decay=1e-4)
"""The reference underfits in its 20 epochs, hence small batches for more steps, a mild crop and little decay."""

_GN_CNN_RECIPE = Recipe(epochs=15, muon_learning_rate=0.01, fold=FoldRecipe(epochs=5, muon_learning_rate=0.01))


def _gn_cnn(layers: Sequence[Layer]) -> Callable[[int, int], nn.Module]:
    return lambda classes, size: GnCnn(classes, layers)  # its global average pool takes every size


MODELS: Mapping[str, Family] = {
    "gn-cnn": Family(_gn_cnn(GN_CNN_LAYERS), _GN_CNN_RECIPE, earlier=_gn_cnn(EARLIER_GN_CNN_LAYERS)),
    "gn-cnn-max": Family(_gn_cnn(GN_CNN_MAX_LAYERS), _GN_CNN_RECIPE),
    "gn-cnn-nano": Family(_gn_cnn(GN_CNN_NANO_LAYERS), _GN_CNN_RECIPE),
    "s8-layer": Family(partial(reference_network, norm=layer_norm), _REFERENCE_RECIPE),
    "s8-group": Family(partial(reference_network, norm=group_norm), _REFERENCE_RECIPE),
    "s8-batch": Family(partial(reference_network, norm=batch_norm), _REFERENCE_RECIPE),
    "s8-none": Family(unnormalized_network, _REFERENCE_RECIPE.with_values(learning_rate=0.05)),
    "wrn-16-4": Family(lambda classes, size: WideResNet(classes, widen=4)),
}


_OLD_NAMES = {"gn-cnn-dw": "gn-cnn"}
"""Names of networks in earlier versions -> names today; runs with old names are read too."""


def family(name: str) -> Family:
    """The registered network of that name, which may be one of an earlier version.

    Raises:
        ModelError: no network has that name.
    """
    name = _OLD_NAMES.get(name, name)
    if name not in MODELS:
        raise ModelError(
            f"no network is called {name!r}{did_you_mean(name, MODELS)}; there are {', '.join(sorted(MODELS))}"
        )
    return MODELS[name]


def default_recipe(name: str) -> Recipe:
    """The recipe of a registered network, unless another one is given.

    Raises:
        RecipeError: no network has that name.
    """
    try:
        return family(name).recipe.with_values(model=name)
    except ModelError as error:
        raise RecipeError(str(error)) from error


def build(
    name: str, classes: int = 10, size: int = IMAGE_SIZE, *, like: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """A network for images of ``size``, with weights drawn from PyTorch's global generator.

    Args:
        name: one of `MODELS`.
        classes: number of logits.
        size: height and width of the images.
        like: the weights that it is to have. If they are those of the network that an earlier version of this package
            built by that name, that one is built.

    Raises:
        ModelError: no network has that name.
    """
    known = family(name)
    network = known.construct(classes, size)
    if like is not None and known.earlier is not None and not _has_shapes(network, like):
        earlier = known.earlier(classes, size)
        if _has_shapes(earlier, like):
            return earlier
    return network


def _has_shapes(network: nn.Module, weights: Mapping[str, Tensor]) -> bool:
    own = {name: tensor.shape for name, tensor in network.state_dict().items()}
    return own == {name: tensor.shape for name, tensor in weights.items()}
