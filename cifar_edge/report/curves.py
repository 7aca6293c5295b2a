"""The section of a training: loss and accuracy by epoch."""

from collections.abc import Sequence

from cifar_edge.report import figures
from cifar_edge.report.charts import Line, chart
from cifar_edge.report.html import Html, element, join, missing, table
from cifar_edge.report.subject import Subject
from cifar_edge.runs.epochs import PHASES, EpochRecord

_PHASE_NAMES = {"train": "training", "fold": "fine-tuning of the folded network"}


def curves(subjects: Sequence[Subject]) -> Html:
    """Loss and accuracy of all ``subjects``, and the figures of each epoch as tables."""
    drawn = [(number, subject) for number, subject in enumerate(subjects) if subject.records]
    lacking = [
        missing(f"{subject.name} has no metrics.csv.", "cifar-edge train", " writes one.")
        for subject in subjects
        if not subject.records
    ]
    if not drawn:
        return join(lacking)
    charts = element("div", _losses(drawn), _accuracies(drawn), class_="charts")
    return join([charts, _legend_of_accuracy(drawn), *lacking, *(_epochs(subject) for _, subject in drawn)])


def seen(subject: Subject) -> str:
    """What the accuracy of an epoch was measured on: ``test`` or ``validation``."""
    return "validation" if subject.recipe is not None and subject.recipe.holdout else "test"


def _losses(drawn: Sequence[tuple[int, Subject]]) -> Html:
    lines = [Line(subject.name, _parts(subject, "loss"), number) for number, subject in drawn]
    about = [
        f"{subject.name}: the loss goes from {subject.records[0].loss:.3f} to {subject.records[-1].loss:.3f}"
        for _, subject in drawn
    ]
    return chart(
        "Loss on augmented training images",
        "; ".join(about),
        lines,
        lambda loss, step: f"{loss:g}",
        _foldings(drawn),
        falls=True,
    )


def _accuracies(drawn: Sequence[tuple[int, Subject]]) -> Html:
    alone = len(drawn) == 1
    lines = []
    for number, subject in drawn:
        name = f"{seen(subject)} images" if alone else f"{subject.name}, {seen(subject)} images"
        lines.append(Line(name, _parts(subject, "accuracy"), number))
        if alone:
            lines.append(Line("augmented training images", _parts(subject, "train_accuracy"), number + 1))
    about = [
        f"{subject.name}: accuracy on {seen(subject)} images goes from {figures.percent(subject.records[0].accuracy)} "
        f"to {figures.percent(subject.records[-1].accuracy)}"
        for _, subject in drawn
    ]
    return chart("Accuracy", "; ".join(about), lines, _share, _foldings(drawn))


def _share(share: float, step: float) -> str:
    """A share at an axis, with the decimals that tell it from its neighbours."""
    return figures.percent(share, 0 if step > 0.0099 else 1 if step > 0.00099 else 2)


def _legend_of_accuracy(drawn: Sequence[tuple[int, Subject]]) -> Html:
    shown = {seen(subject) for _, subject in drawn}
    if shown != {"test"}:
        return Html("")
    return element(
        "p",
        "There were no validation images: the accuracy on test images was shown, and chose nothing.",
        class_="quiet",
    )


def _parts(subject: Subject, value: str) -> list[list[tuple[float, float]]]:
    """The points of each phase, one phase after the other on a common axis of epochs."""
    numbered = list(enumerate(subject.records, 1))
    by_phase = [
        [(float(n), float(getattr(each, value))) for n, each in numbered if each.phase == phase] for phase in PHASES
    ]
    return [part for part in by_phase if part]


def _foldings(drawn: Sequence[tuple[int, Subject]]) -> list[tuple[float, str]]:
    """Where norms were folded: the place, and what to say there."""
    found: set[float] = set()
    for _, subject in drawn:
        before = sum(record.phase == "train" for record in subject.records)
        if 0 < before < len(subject.records):
            found.add(before + 0.5)
    # Several lines lie close together, so only the last of them has words.
    places = sorted(found)
    return [(place, "norms folded" if place == places[-1] else "") for place in places]


def _epochs(subject: Subject) -> Html:
    heads = ["epoch", "phase", "learning rate", "loss", "training accuracy", f"{seen(subject)} accuracy", "time"]
    rows = [_row(number, record) for number, record in enumerate(subject.records, 1)]
    title = f"Every epoch of {subject.name}"
    return element("details", element("summary", f"{title}, as a table"), table(title, heads, rows, class_="numbers"))


def _row(number: int, record: EpochRecord) -> list[str]:
    return [
        str(number),
        _PHASE_NAMES[record.phase],
        f"{record.learning_rate:.4g}",
        f"{record.loss:.4f}",
        figures.percent(record.train_accuracy),
        figures.percent(record.accuracy),
        figures.duration(record.seconds),
    ]
