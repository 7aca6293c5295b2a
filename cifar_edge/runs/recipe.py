"""The recipe: every hyperparameter of a training, in one frozen dataclass, and its TOML file."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from cifar_edge.errors import RecipeError
from cifar_edge.files import read_bounded
from cifar_edge.messages import did_you_mean, reason
from cifar_edge.spec import IMAGE_SIZE, IMAGE_SIZES

_MAX_BYTES = 1 << 20
"""Of a recipe.toml."""
PRECISIONS = ("auto", "bf16", "fp32")

Strength = float | tuple[float, float]
"""Strength of a change of light: s draws factors from [1 - s, 1 + s]; a pair gives the least and the largest factor."""


@dataclass(frozen=True, slots=True)
class FoldRecipe:
    """The fine-tuning after the norms were folded: table ``[fold]`` of a recipe. All else is as in the training."""

    epochs: int = 0
    """Epochs of fine-tuning; 0 leaves the network as it is."""

    learning_rate: float = 0.1
    """Peak of the schedule."""

    muon_learning_rate: float = 0.0
    """Peak of Muon's schedule."""

    brightness: Strength = 0.0
    """Change of brightness: a network without norms has to learn the effect of light (docs/folding.md)."""

    contrast: Strength = 0.0
    """Change of contrast."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained. A run saves its own, resolved, as ``recipe.toml``."""

    model: str = "gn-cnn"
    """Registered name of the network."""

    epochs: int = 20
    """Passes over the training images."""

    size: int = IMAGE_SIZE
    """Height and width of the images: a multiple of 16 from 32 to 128."""

    seed: int = 0
    """Decides initial weights, order and, without ``augmented_copies``, augmentation."""

    holdout: int = 0
    """Training images kept out of training, for choices, the same ones for every seed; 0 trains on all of them."""

    batch_size: int = 128
    """Images a step; the incomplete last batch of an epoch is left out."""

    learning_rate: float = 0.15
    """Peak of the schedule."""

    muon_learning_rate: float = 0.0
    """Peak of the same schedule for the weights of convolutions by Muon, as a fraction of their norm; 0 trains them by
    SGD as all the rest. For networks like gn-cnn, where a norm follows each (Jordan 2024,
    https://kellerjordan.github.io/posts/muon)."""

    warmup: float = 0.2
    """Fraction of the steps in which the learning rate rises linearly; then it falls to zero as a cosine."""

    momentum: float = 0.9
    """Nesterov momentum of SGD and Muon."""

    weight_decay: float = 3e-4
    """On tensors of more than one dimension that SGD trains: convolution and linear weights, and s8-layer's norms."""

    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""

    augmented_copies: int = 0
    """Augmented copies of each image, used in turn, one an epoch, and the same for every seed; 0 augments anew in every
    epoch. A teacher classifies each copy once, for all runs, which makes it affordable on a CPU (docs/training.md)."""

    crop: int = 4
    """Largest shift of the random crop, in pixels, the border reflected; 0 for none."""

    flip: bool = True
    """Mirror half of the images."""

    cutout: int = 0
    """Side of the square set to grey in each image, before its light changes, in pixels; 0 for none (DeVries & Taylor
    2017, arXiv:1708.04552)."""

    brightness: Strength = 0.0
    """Each image's pixels are multiplied by a factor: 0.4 draws from [0.6, 1.4]; [0.6, 1.4] says the same, and a range
    need not be even; 0 for none. ``[fold]`` has its own."""

    contrast: Strength = 0.0
    """The same for the distance of pixels from the mean of their image. ``[fold]`` has its own."""

    mixup: float = 0.0
    """Alpha of mixup's Beta distribution, one draw a step; 0 for none (Zhang et al. 2018, arXiv:1710.09412)."""

    ema_decay: float = 0.998
    """Decay per step of the exponential moving average of the weights, which is evaluated and saved; 0 for none."""

    teacher: str | tuple[str, ...] = ""
    """Run or released model to distil from; empty for none (Hinton et al. 2015, arXiv:1503.02531). Of several, in a
    list, the probabilities are averaged. With ``mixup`` it sees the images unmixed, and what it says is mixed as the
    labels are."""

    distillation_weight: float = 0.9
    """Share of the distillation loss where there is a teacher; the rest is cross-entropy."""

    temperature: float = 4.0
    """Temperature of the distillation loss."""

    precision: str = "auto"
    """Arithmetic of forward and backward: ``bf16`` (autocast), ``fp32``, or ``auto``, resolved by the machine."""

    compile: bool = False
    """Compile the step with ``torch.compile`` on a GPU. On a CPU it is slower and is not done (docs/performance.md)."""

    fold: FoldRecipe = FoldRecipe()
    """The fine-tuning after the training."""

    def __post_init__(self) -> None:
        values = self.settings
        for name, (low, high) in _RANGES.items():
            value = values[name]
            if not isinstance(value, tuple) and not low <= value <= high:
                raise RecipeError(f"{name} = {value} is not between {low} and {high}")
        for name in _STRENGTHS:
            value = values[name]
            if isinstance(value, tuple) and not 0 <= value[0] <= value[1] <= _LARGEST_FACTOR:
                raise RecipeError(f"{name} = {list(value)} is not a range of factors between 0 and {_LARGEST_FACTOR}")
        if self.size not in IMAGE_SIZES:
            raise RecipeError(f"size = {self.size} is not a multiple of 16 from {IMAGE_SIZES[0]} to {IMAGE_SIZES[-1]}")
        if self.precision not in PRECISIONS:
            raise RecipeError(f"precision = {self.precision!r} is none of {', '.join(PRECISIONS)}")

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> Self:
        """A recipe from TOML's types; a key that is missing keeps this class's default, whatever the network.

        Raises:
            RecipeError: an unknown key, one given twice, or a value of the wrong type or out of its range.
        """
        values = {name: _typed(name, value) for name, value in _flat(settings).items()}
        fold = {name: values.pop(f"fold.{name}") for name in asdict(FoldRecipe()) if f"fold.{name}" in values}
        return cls(**values, fold=FoldRecipe(**fold))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read ``recipe.toml``.

        Raises:
            RecipeError: no such file, not TOML, or as `from_mapping`.
        """
        try:
            text = read_bounded(path, _MAX_BYTES).decode("utf-8-sig")
        except (OSError, ValueError) as error:
            raise RecipeError(f"cannot read the recipe {path}: {getattr(error, 'strerror', None) or error}") from error
        try:
            return cls.from_mapping(tomllib.loads(text))
        except (ValueError, RecursionError) as error:
            raise RecipeError(f"{path} is not TOML: {reason(error)}") from error

    def updated(self, assignments: Sequence[str]) -> Self:
        """The recipe with ``key=value`` strings applied, such as ``fold.epochs=5``: values in TOML, or bare words.

        Raises:
            RecipeError: a string without ``=``, or as `from_mapping`.
        """
        changes: dict[str, Any] = {}
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            if not equals:
                raise RecipeError(f"{assignment!r} is not key=value")
            try:
                changes[name.strip()] = tomllib.loads(f"value = {text}")["value"]
            except (ValueError, RecursionError):
                changes[name.strip()] = text.strip()
        return self.changed(changes)

    def changed(self, settings: Mapping[str, Any]) -> Self:
        """The recipe with some keys replaced, those of ``[fold]`` written as ``fold.epochs``.

        Raises:
            RecipeError: as `from_mapping`.
        """
        return type(self).from_mapping({**self.settings, **_flat(settings)})

    @property
    def settings(self) -> dict[str, Any]:
        """Every value by its key, those of ``[fold]`` as ``fold.epochs``."""
        return _flat(self.to_mapping())

    @property
    def fine_tuning(self) -> Self:
        """The recipe of the fine-tuning: this one, with what ``[fold]`` has in the place of the training's."""
        return replace(self, **asdict(self.fold))

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teachers' names; empty for none."""
        if isinstance(self.teacher, tuple):
            return self.teacher
        return (self.teacher,) if self.teacher else ()

    def with_values(self, **changes: Any) -> Self:
        """The recipe with some fields replaced; Python's types, already checked."""
        return replace(self, **changes)

    def to_mapping(self) -> dict[str, Any]:
        """Every field by name; ``fold`` is a mapping too."""
        return asdict(self)

    def to_toml(self) -> str:
        """The whole recipe, every field named, as TOML."""
        import tomli_w  # of the extra [train], which alone writes recipes

        return tomli_w.dumps(self.to_mapping())


_RANGES: Mapping[str, tuple[float, float]] = {
    "epochs": (1, 100_000),
    "fold.epochs": (0, 100_000),
    "fold.learning_rate": (0.0, 100.0),
    "fold.muon_learning_rate": (0.0, 1.0),
    "fold.brightness": (0.0, 1.0),
    "fold.contrast": (0.0, 1.0),
    "seed": (0, 2**31 - 1),
    "holdout": (0, 1_000_000),
    "batch_size": (1, 65_536),
    "learning_rate": (0.0, 100.0),
    "muon_learning_rate": (0.0, 1.0),
    "warmup": (0.0, 1.0),
    "momentum": (0.0, 0.9999),
    "weight_decay": (0.0, 1.0),
    "label_smoothing": (0.0, 0.99),
    "augmented_copies": (0, 1_000),
    "crop": (0, 16),
    "cutout": (0, 32),
    "brightness": (0.0, 1.0),
    "contrast": (0.0, 1.0),
    "mixup": (0.0, 10.0),
    "ema_decay": (0.0, 0.999999),
    "distillation_weight": (0.0, 1.0),
    "temperature": (0.1, 100.0),
}

_STRENGTHS = ("brightness", "contrast", "fold.brightness", "fold.contrast")
_LARGEST_FACTOR = 10.0

_OLD_NAMES = {
    "copies": "augmented_copies",
    "average_decay": "ema_decay",
    **{f"fold_{name}": f"fold.{name}" for name in asdict(FoldRecipe())},
}
"""What earlier versions called a key; their recipes are read as ever."""


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by today's keys, those of the table ``fold`` as ``fold.epochs``.

    Raises:
        RecipeError: ``fold`` is not a table, or a key is given twice.
    """
    pairs = [(name, value) for name, value in settings.items() if name != "fold"]
    fold = settings.get("fold", {})
    if not isinstance(fold, Mapping):
        raise RecipeError(f"fold = {fold!r} is not a table of {', '.join(asdict(FoldRecipe()))}")
    pairs += [(f"fold.{name}", value) for name, value in fold.items()]
    flat: dict[str, Any] = {}
    for name, value in pairs:
        today = _OLD_NAMES.get(name, name)
        if today in flat:
            raise RecipeError(f"{today} is given twice, once as {name}")
        flat[today] = value
    return flat


KEYS: Mapping[str, type] = {name: type(value) for name, value in Recipe().settings.items()}
"""Every key of a recipe with the type of its values, those of ``[fold]`` as ``fold.epochs``."""


def _typed(name: str, value: Any) -> Any:
    if name not in KEYS:
        raise RecipeError(f"no recipe has a key {name!r}{did_you_mean(name, KEYS)}; there are {', '.join(KEYS)}")
    kind = KEYS[name]
    if isinstance(value, int) and value.bit_length() > 63:
        raise RecipeError(f"{name} is a whole number of more than 64 bits")
    if isinstance(value, list | tuple):
        parts = tuple(_of_kind(part, kind) for part in value)
        if name in _STRENGTHS and len(parts) == 2 and None not in parts:
            return parts
        if name == "teacher" and None not in parts:
            return parts
    if (single := _of_kind(value, kind)) is None:
        raise RecipeError(f"{name} = {value!r} is not {_ARTICLES[kind]}{_LISTS.get(name, '')}")
    return single


def _of_kind(value: Any, kind: type) -> Any:
    """``value`` if it is of that type, an integer also as a float; else None."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 64:
        return float(value)
    return value if type(value) is kind else None


_ARTICLES = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}
_LISTS: Mapping[str, str] = {
    **dict.fromkeys(_STRENGTHS, ", nor two of them, as in [0.6, 1.4]"),
    "teacher": ", nor a list of them",
}
"""What a key takes beside a single value."""
