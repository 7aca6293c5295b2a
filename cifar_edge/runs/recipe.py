"""The recipe: every hyperparameter of a training, in one frozen dataclass, and its TOML file."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from cifar_edge.errors import RecipeError
from cifar_edge.files import read_bounded
from cifar_edge.messages import did_you_mean, display_name, reason
from cifar_edge.spec import IMAGE_SIZE, IMAGE_SIZES

_MAX_BYTES = 1 << 20
"""Largest recipe.toml that is read."""
PRECISIONS = ("auto", "bf16", "fp32")

Strength = float | tuple[float, float]
"""Strength of a brightness or contrast change: s draws factors from [1 - s, 1 + s]; a pair is the range itself."""


@dataclass(frozen=True, slots=True)
class FoldRecipe:
    """Fine-tuning after the norms were folded: table ``[fold]`` of a recipe. Other keys are the training's."""

    epochs: int = 0
    """Epochs of fine-tuning; 0 leaves the network as it is."""

    learning_rate: float = 0.1
    """Peak of the schedule."""

    muon_learning_rate: float = 0.0
    """Peak of Muon's schedule."""

    brightness: Strength = 0.0
    """Change of brightness: a network without norms has to learn invariance to it (docs/folding.md)."""

    contrast: Strength = 0.0
    """Change of contrast."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained. A run saves its resolved recipe as ``recipe.toml``."""

    model: str = "gn-cnn"
    """Registered name of the network."""

    init: str = ""
    """Run or released model to begin with, whose folded network is trained on with another head; empty to begin with
    random weights. There are no norms then, and nothing to fold: ``[fold]`` is not used."""

    epochs: int = 20
    """Passes over the training images, or parts of the training of ``steps_per_epoch`` steps."""

    steps_per_epoch: int = 0
    """Steps of an epoch, over as many passes as they take; 0 for one pass. For datasets so small that a pass is only a
    few steps, or so large that it is too many. The phase ``[fold]`` has the same."""

    patience: int = 0
    """Epochs without a better accuracy on the validation images after which a phase ends early, with the weights of the
    epoch that was best on them, the last of several. 0 trains all epochs and takes the last. It needs ``holdout``."""

    size: int = IMAGE_SIZE
    """Height and width of the images: a multiple of 16 from 32 to 128."""

    seed: int = 0
    """Seed of the initial weights, the order of the images and, without ``augmented_copies``, the augmentation."""

    holdout: int = 0
    """Number of validation images held out of the training images, the same for every seed; 0 trains on all."""

    batch_size: int = 128
    """Images per step; the incomplete last batch of an epoch is dropped."""

    learning_rate: float = 0.15
    """Peak of the schedule."""

    muon_learning_rate: float = 0.0
    """Peak of the same schedule for Muon, which trains the weights of convolutions, as a fraction of their norm; 0
    trains them by SGD as all the rest. For networks like gn-cnn, with a norm after each convolution (Jordan 2024,
    https://kellerjordan.github.io/posts/muon)."""

    warmup: float = 0.2
    """Fraction of the steps in which the learning rate rises linearly; then it falls to zero along a cosine."""

    momentum: float = 0.9
    """Nesterov momentum of SGD and Muon."""

    weight_decay: float = 3e-4
    """For the tensors of more than one dimension that SGD trains: convolution and linear weights, s8-layer's norms."""

    balance: bool = False
    """Weight the loss of an image by the inverse of the size of its class, so that rare classes count as much."""

    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""

    augmented_copies: int = 0
    """Augmented copies of each image, one for each epoch in turn, the same for every seed; 0 augments anew in every
    epoch. A teacher classifies each copy once, for all runs, so that it is affordable on a CPU (docs/training.md)."""

    copy_seed: int = 0
    """Seed of the augmented copies. A fine-tuning with another one sees copies that the network has not seen before."""

    copy_shift: int = 0
    """Largest further shift of an augmented copy, in pixels, drawn anew in each epoch, as is ``flip``; 0 leaves the
    copies as they are. A network then cannot learn the copies by heart. The teacher does not classify them again: its
    logits for the copy stand for its logits for the shifted one (docs/training.md)."""

    mixtures: float = 0.0
    """Share of the augmented copies in each epoch that are mixed with another image, and that the teacher classifies as
    they are then; 0 for none. They are no images of one class: a network learns from them what the teacher computes,
    rather than the training images (Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and
    consistent", arXiv:2106.05237)."""

    crop: int = 4
    """Largest shift of the random crop, in pixels, with reflected borders; 0 for none."""

    resized_crop: float = 0.0
    """Least share of the image's area in a random crop that is resized to the image's size, in place of ``crop``; 0 for
    none. For photographs, whose subjects lie anywhere and have any size (Szegedy et al. 2015, arXiv:1409.4842)."""

    flip: bool = True
    """Mirror half of the images."""

    cutout: int = 0
    """Side, in pixels, of the square set to grey in each image, before brightness and contrast change; 0 for none
    (DeVries & Taylor 2017, arXiv:1708.04552)."""

    brightness: Strength = 0.0
    """Each image's pixels are multiplied by a random factor: 0.4 and [0.6, 1.4] both draw from [0.6, 1.4]. A range need
    not be symmetric; 0 for none. ``[fold]`` has its own."""

    contrast: Strength = 0.0
    """The same for the difference between the pixels and the mean of their image. ``[fold]`` has its own."""

    mixup: float = 0.0
    """Alpha of mixup's Beta distribution, one draw per step; 0 for none (Zhang et al. 2018, arXiv:1710.09412)."""

    ema_decay: float = 0.998
    """Decay per step of the exponential moving average of the weights, which is evaluated and saved; 0 for none."""

    teacher: str | tuple[str, ...] = ""
    """Run or released model to distil from; empty for none (Hinton et al. 2015, arXiv:1503.02531). With several
    teachers, in a list, their probabilities are averaged. With ``mixup`` a teacher classifies the images unmixed, and
    its probabilities are mixed like the labels. ``efficientnet-lite0`` is one with ImageNet weights
    (`cifar_edge.training.pretrained`)."""

    unlabelled: str = ""
    """Folder of further images, of unknown classes, that the teacher labels; empty for none. The training learns from
    those that the teacher is surest of, of each class at most as many as it has training images (Xie et al. 2020,
    "Self-training with Noisy Student", arXiv:1911.04252); they make its epochs longer."""

    distillation_weight: float = 0.9
    """Share of the distillation loss if there is a teacher; the rest is cross-entropy."""

    temperature: float = 4.0
    """Temperature of the distillation loss."""

    precision: str = "auto"
    """Arithmetic of forward and backward: ``bf16`` (autocast), ``fp32``, or ``auto``, which depends on the machine."""

    compile: bool = False
    """Compile the step with ``torch.compile`` on a GPU. Ignored on a CPU, where it is slower (docs/training.md)."""

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
        for name in ("crop", "copy_shift"):  # the border is reflected, without its outermost pixels
            if values[name] >= self.size:
                raise RecipeError(f"{name} = {values[name]} is not less than size = {self.size}")
        if self.patience and not self.holdout:
            raise RecipeError(f"patience = {self.patience} needs validation images: set holdout to their number")
        if self.unlabelled and not self.teacher:
            raise RecipeError(f"unlabelled = {self.unlabelled!r}: the teacher labels these images; set teacher too")
        if self.steps_per_epoch and self.augmented_copies:
            raise RecipeError("augmented_copies are of whole passes over the images; leave steps_per_epoch = 0")
        for name in ("copy_seed", "copy_shift", "mixtures"):
            if values[name] and not self.augmented_copies:
                raise RecipeError(f"{name} = {values[name]} is of augmented copies: set augmented_copies")
        if self.mixtures and not self.teacher:
            raise RecipeError(f"mixtures = {self.mixtures}: the teacher says what these images are; set teacher too")
        if self.precision not in PRECISIONS:
            raise RecipeError(f"precision = {self.precision!r} is not one of {', '.join(PRECISIONS)}")

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> Self:
        """A recipe from TOML types. A missing key takes this class's default, whatever the network.

        Raises:
            RecipeError: a key is unknown or given twice, or a value has the wrong type or is out of range.
        """
        values = {name: _typed(name, value) for name, value in _flat(settings).items()}
        fold = {name: values.pop(f"fold.{name}") for name in asdict(FoldRecipe()) if f"fold.{name}" in values}
        return cls(**values, fold=FoldRecipe(**fold))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read ``recipe.toml``.

        Raises:
            RecipeError: there is no such file, it is not TOML, or as `from_mapping`.
        """
        try:
            text = read_bounded(path, _MAX_BYTES).decode("utf-8-sig")
        except (OSError, ValueError) as error:
            raise RecipeError(
                f"cannot read the recipe {display_name(path)}: {getattr(error, 'strerror', None) or error}"
            ) from error
        try:
            return cls.from_mapping(tomllib.loads(text))
        except (ValueError, RecursionError) as error:
            raise RecipeError(f"{display_name(path)} is not TOML: {reason(error)}") from error

    def updated(self, assignments: Sequence[str]) -> Self:
        """The recipe with ``key=value`` strings applied: see `settings_of`.

        Raises:
            RecipeError: a string has no ``=``, or as `from_mapping`.
        """
        return self.changed(settings_of(assignments))

    def changed(self, settings: Mapping[str, Any]) -> Self:
        """The recipe with some keys replaced. Those of ``[fold]`` are written as ``fold.epochs``.

        Raises:
            RecipeError: as `from_mapping`.
        """
        return type(self).from_mapping({**self.settings, **_flat(settings)})

    @property
    def settings(self) -> dict[str, Any]:
        """Key -> value. Those of ``[fold]`` are written as ``fold.epochs``."""
        return _flat(self.to_mapping())

    @property
    def source_size(self) -> int | None:
        """Height and width of the images that resized crops are taken from; None without such crops.

        So a crop of half the width and height is still sharp at about the size of the network's images.
        """
        return 3 * self.size // 2 if self.resized_crop else None

    @property
    def fine_tuning(self) -> Self:
        """The recipe of the fine-tuning: this one, with its keys replaced by those of ``[fold]``."""
        return replace(self, **asdict(self.fold))

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teachers' names; empty for none."""
        if isinstance(self.teacher, tuple):
            return self.teacher
        return (self.teacher,) if self.teacher else ()

    def with_values(self, **changes: Any) -> Self:
        """The recipe with some fields replaced by Python values of the right types."""
        return replace(self, **changes)

    def to_mapping(self) -> dict[str, Any]:
        """Field -> value; ``fold`` is a mapping too."""
        return asdict(self)

    def to_toml(self) -> str:
        """The recipe as TOML, with every field."""
        import tomli_w  # of the extra [train]: recipes are only written with it

        return tomli_w.dumps(self.to_mapping())


_RANGES: Mapping[str, tuple[float, float]] = {
    "epochs": (1, 100_000),
    "steps_per_epoch": (0, 1_000_000),
    "patience": (0, 100_000),
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
    "copy_seed": (0, 2**31 - 1),
    "copy_shift": (0, 16),
    "mixtures": (0.0, 1.0),
    "crop": (0, 64),
    "resized_crop": (0.0, 1.0),
    "cutout": (0, 128),
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
"""Names of keys in earlier versions -> names today; recipes with old names are read too."""


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by today's keys. Those of the table ``fold`` are written as ``fold.epochs``.

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


def settings_of(assignments: Sequence[str]) -> dict[str, Any]:
    """Key -> value of ``key=value`` strings, such as ``fold.epochs=5``. Values are TOML, or bare words.

    Raises:
        RecipeError: a string has no ``=``.
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise RecipeError(f"{assignment!r} is not key=value")
        try:
            settings[name.strip()] = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            settings[name.strip()] = text.strip()
    return settings


KEYS: Mapping[str, type] = {name: type(value) for name, value in Recipe().settings.items()}
"""Key of a recipe -> type of its values. Those of ``[fold]`` are written as ``fold.epochs``."""


def _typed(name: str, value: Any) -> Any:
    if name not in KEYS:
        raise RecipeError(
            f"recipes have no key {name!r}{did_you_mean(name, KEYS)}; the recipe.toml of any run has all keys, and "
            "docs/api.md says what they mean"
        )
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
    """``value`` if it has that type, else None. An integer is also a float."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 64:
        return float(value)
    return value if type(value) is kind else None


_ARTICLES = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}
_LISTS: Mapping[str, str] = {
    **dict.fromkeys(_STRENGTHS, ", nor two of them, as in [0.6, 1.4]"),
    "teacher": ", nor a list of them",
}
"""What a key takes besides a single value, for errors."""
