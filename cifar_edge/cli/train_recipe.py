"""The recipe of `cifar-edge train`: from its options, and on an image folder from the images."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cifar_edge.runs.recipe import Recipe

RELEASED, NONE = "released", "none"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `cifar-edge train` that decide the recipe; None, or empty, where they are not given.

    Attributes:
        model: registered name of a network.
        file: a recipe.toml.
        init: ``released``, ``none``, or a run.
        settings: ``key=value`` strings.
        changes: key of the recipe -> value.
        data: the dataset.
    """

    model: str | None
    file: Path | None
    init: str | None
    settings: Sequence[str]
    changes: Mapping[str, object]
    data: str | None

    @property
    def folds(self) -> bool:
        """Whether they ask for fine-tuning after folding, which only a network with norms has."""
        asked = [setting.partition("=")[0].strip() for setting in self.settings]
        return "fold.epochs" in self.changes or any(key.startswith(("fold.", "fold_")) for key in asked)


def init_setting(init: str | None, settings: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """``--init`` and ``--set`` without ``--set init=RUN``, which is another way to say ``--init RUN``.

    Raises:
        UsageError: both are given.
    """
    from cifar_edge.runs.recipe import Recipe

    asked = [setting for setting in settings if setting.partition("=")[0].strip() == "init" and "=" in setting]
    if not asked:
        return init, tuple(settings)
    if init is not None:
        raise click.UsageError("--init and --set init= say the same: leave out one of them.")
    return Recipe().updated(asked).init or NONE, tuple(setting for setting in settings if setting not in asked)


def recipe_of(options: Options) -> "Recipe":
    """The recipe before the images are decoded.

    Without another ``--init``, a training on an image folder begins with the released network, if there is one and
    nothing else is asked for.

    Raises:
        RecipeError: a recipe or setting is wrong, or ``--init`` does not fit the other options.
        ModelError: there is no such run or model.
        DataError: the folder of images is none.
    """
    from cifar_edge.data.folder.sides import shorter_sides
    from cifar_edge.data.load import image_folder
    from cifar_edge.errors import RecipeError
    from cifar_edge.models import default_recipe
    from cifar_edge.runs.recipe import Recipe, settings_of
    from cifar_edge.training.own_images import recipe_for_images, released_beginning
    from cifar_edge.training.pretrained import EFFICIENTNET_LITE0, TEMPERATURE

    folder = image_folder(options.data)
    model = options.model or "gn-cnn"
    init = "" if options.init == NONE else options.init or ""
    if init == RELEASED and not (init := released_beginning(model)):
        raise RecipeError(f"there is no released {model} with its norms folded; leave --init out, or give a run")
    if options.init is None and folder is not None and options.file is None and not options.folds:
        init = released_beginning(model)
    if init and options.folds:
        raise RecipeError("--init begins with a network whose norms are folded: leave out what is set of [fold]")
    if options.file is not None:
        recipe = Recipe.from_file(options.file)
        recipe = recipe.with_values(init=init or ("" if options.init == NONE else recipe.init))
    elif init:
        recipe = recipe_for_images(init, shorter_sides(folder) if folder is not None else [])
    else:
        recipe = default_recipe(model)
    recipe = recipe.changed({**settings_of(options.settings), **options.changes})  # all at once: some need others
    if EFFICIENTNET_LITE0 in recipe.teachers and options.file is None and "temperature" not in _asked(options):
        recipe = recipe.with_values(temperature=TEMPERATURE)
    return recipe


def with_budget(recipe: "Recipe", options: Options, images: int) -> "Recipe":
    """``recipe`` with the number of steps for so many training images, unless an option says how long to train."""
    from cifar_edge.training.own_images import with_steps

    if not recipe.init or options.file is not None or _asked(options) & {"epochs", "steps_per_epoch"}:
        return recipe
    return with_steps(recipe, images)


def advice(recipe: "Recipe", options: Options, classes: int) -> list[str]:
    """Lines on a training of an image folder: what it begins with, if no option says so, and what its size costs."""
    from cifar_edge.training.own_images import ACCURATE, released_beginning

    lines = []
    if options.init is None and recipe.init and options.file is None:
        lines.append(f"beginning with the released {recipe.model} (--init none begins with random weights)")
        if options.model is None and recipe.resized_crop and released_beginning(ACCURATE):
            lines.append(f"--model {ACCURATE} may be more accurate, and is 3 to 4 times as slow")
    return [*lines, _costs(recipe, classes)]


def _asked(options: Options) -> set[str]:
    """The keys of the recipe that options set."""
    return {setting.partition("=")[0].strip() for setting in options.settings} | set(options.changes)


def _costs(recipe: "Recipe", classes: int) -> str:
    """What the size of the images costs, in one line: time by the multiply-accumulates, and RAM where it is known."""
    from cifar_edge.models import build
    from cifar_edge.models.summary import count_macs
    from cifar_edge.spec import IMAGE_SIZE

    macs = count_macs(build(recipe.model, classes, recipe.size), recipe.size)
    line = f"images of {recipe.size}x{recipe.size} pixels: {macs / 1e6:.1f} million MACs each"
    ram, least = _state_bytes(recipe, recipe.size), _state_bytes(recipe, IMAGE_SIZE)
    if ram is not None:
        line += f", {ram / 1000:.0f} kB of RAM in C"
    if recipe.size == IMAGE_SIZE:
        return line
    ratio = (recipe.size / IMAGE_SIZE) ** 2
    line += f"; {ratio:.2g} times the MACs and about {ratio:.2g} times the latency"
    if ram is not None and least is not None:
        line += f", {ram / least:.2g} times the RAM"
    return f"{line} of {IMAGE_SIZE}x{IMAGE_SIZE} (--size)"


def _state_bytes(recipe: "Recipe", size: int) -> int | None:
    """Bytes of RAM of the int8 network at ``size`` in C, as `cifar-edge summary` prints them.

    None if neither what the training begins with nor the released network of the recipe has been exported in int8, or
    if it has no form in C.
    """
    from cifar_edge import c
    from cifar_edge.errors import ContractError, ModelError
    from cifar_edge.integer import IntegerNetwork
    from cifar_edge.runs.resolve import precisions_beside, resolve_model

    with suppress(ContractError, ModelError, TypeError):
        file = precisions_beside(resolve_model(recipe.init or recipe.model).path)[-1]
        state_bytes: int = c.figures(replace(IntegerNetwork.from_onnx(file), size=size))["state_bytes"]
        return state_bytes
    return None
