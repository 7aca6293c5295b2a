"""The search's results: one line for each training of a candidate, in benchmarks/search/results.csv."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from benchmarks import results_file
from benchmarks.search import space as search_space
from cifar_edge.errors import RecipeError
from cifar_edge.runs.recipe import Recipe

RESULTS = Path(__file__).with_name("results.csv")
REFERENCE = "c32k4s2,n32,n32,n32s2,n32,n28,p64"
"""What gn-cnn was during the search. Latencies are ratios to its own, and so stay when gn-cnn changes."""

SETTINGS = (
    "epochs",
    "learning_rate",
    "muon_learning_rate",
    "batch_size",
    "weight_decay",
    "label_smoothing",
    "augmented_copies",
    "crop",
    "cutout",
    "mixup",
    "ema_decay",
    "seed",
)
"""Keys of the recipe that a training may vary; each has a column. All other keys have the defaults of `Recipe`."""
LIGHT = ("brightness", "contrast")
"""More such keys, whose columns hold text, such as ``[0.6, 1.4]``; empty for none."""
RATIOS = ("latency_ratio", "latency_ratio_avx2", "instructions_ratio_avx2", "latency_ratio_resnet8")
"""Columns that `set_ratios` fills."""
TEACHING = ("distillation_weight", "temperature")
"""More such keys, for trainings with a teacher."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """All settings of a training.

    Attributes:
        spec: the network, see space.py.
        group_size: channels in a group of the GroupNorms; None if ``note`` describes them.
        epochs: this and all other settings are those of `cifar_edge.runs.recipe.Recipe`.
        holdout_seed: seed of the order whose first 5,000 training images are held out; None for those of ``holdout``.
        teacher: name of the network it was distilled from; empty for none, and then the next two are None.
        note: a remark on what has no column.
    """

    spec: str
    group_size: int | None
    epochs: int
    learning_rate: float
    muon_learning_rate: float
    batch_size: int
    weight_decay: float
    label_smoothing: float
    augmented_copies: int
    crop: int
    cutout: int
    mixup: float
    ema_decay: float
    seed: int
    brightness: str = ""
    contrast: str = ""
    holdout_seed: int | None = None
    teacher: str = ""
    distillation_weight: float | None = None
    temperature: float | None = None
    note: str = ""

    @classmethod
    def of(cls, spec: str, group_size: int, recipe: Recipe, teacher: str, holdout_seed: int | None = None) -> Self:
        """The training of ``spec`` by ``recipe``; ``teacher`` is the teacher's name."""
        recorded = SETTINGS + TEACHING if teacher else SETTINGS
        settings: dict[str, Any] = {name: getattr(recipe, name) for name in recorded}
        for name in LIGHT:
            strength = getattr(recipe, name)
            settings[name] = str(list(strength) if isinstance(strength, tuple) else strength) if strength else ""
        settings["holdout_seed"] = holdout_seed
        return cls(spec=spec, group_size=group_size, teacher=teacher, **settings)


@dataclass(frozen=True, kw_only=True)
class Row(Training):
    """A line of the CSV file: a training, its accuracies, and the costs of its network.

    Attributes:
        held_out_accuracy: of the ema network on the 5,000 validation images, in [0, 1].
        train_accuracy: on the 45,000 training images, without augmentation.
        device: the one it was trained on.
        parameters: of the network as trained, with GroupNorm and all branches.
        macs: multiply-accumulates of the folded network, for one image.
        activation_bytes: of the int8 network, where each layer keeps only the rows that it needs.
        latency_ratio: on a processor with VNNI, median latency of the int8 graph, one image, one thread, divided by
            that of `REFERENCE` in the same run; None until it is measured.
        latency_ratio_avx2: the same on one with AVX2 alone.
        instructions_ratio_avx2: instructions for AVX2 alone, as instructions.py counts them, divided likewise.
        latency_ratio_resnet8: the first latency, divided by that of MLPerf Tiny's int8 ResNet-8 in LiteRT.
    """

    held_out_accuracy: float
    train_accuracy: float
    device: str
    parameters: int
    macs: int
    activation_bytes: int
    latency_ratio: float | None = None
    latency_ratio_avx2: float | None = None
    instructions_ratio_avx2: float | None = None
    latency_ratio_resnet8: float | None = None

    @property
    def training(self) -> Training:
        """The settings of the row."""
        return Training(**{field.name: getattr(self, field.name) for field in fields(Training)})


def read() -> list[Row]:
    """All rows.

    Raises:
        DataError: the file is damaged.
    """
    return results_file.read(RESULTS, Row)


def append(training: Training, accuracies: tuple[float, float], device: str) -> Row:
    """Add a finished training, with its accuracies on validation and training images.

    Its latency is taken from another row of the same network, if there is one.

    Raises:
        CifarEdgeError: the file is damaged, or cannot be written.
    """
    held_out, train = accuracies
    row = Row(
        **asdict(training),
        held_out_accuracy=round(held_out, 4),
        train_accuracy=round(train, 4),
        device=device,
        **asdict(search_space.costs(training.spec)),
    )
    for other in read():
        if other.spec == row.spec:
            row = replace(row, **{name: getattr(other, name) for name in RATIOS})
    results_file.append(RESULTS, row)
    return row


def set_ratios(ratios: Mapping[str, Mapping[str, float]]) -> None:
    """Write ratios into the rows; others do not change.

    Args:
        ratios: one of `RATIOS` -> spec -> ratio.

    Raises:
        CifarEdgeError: the file is damaged, or cannot be written.
    """
    rows = []
    for row in read():
        new: dict[str, Any] = {name: found[row.spec] for name, found in ratios.items() if row.spec in found}
        rows.append(replace(row, **new))
    results_file.write(RESULTS, Row, rows)


def recipe_of(settings: Sequence[str], base: Recipe) -> Recipe:
    """``base`` with ``key=value`` strings applied.

    Raises:
        RecipeError: a key has no column, or as for `Recipe.updated`.
    """
    known = (*SETTINGS, *LIGHT, "teacher", *TEACHING)
    for setting in settings:
        name = setting.partition("=")[0].strip()
        if name not in known:
            raise RecipeError(f"the search does not vary {name!r}; it varies {', '.join(known)}")
    return base.updated(settings)
