"""The summary of a run, as `cifar-edge train` and `fold` print it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cifar_edge.cli.loading import data_command
from cifar_edge.messages import display_name, shell_word

if TYPE_CHECKING:
    from cifar_edge.runs.summary import RunSummary


def summary_json(summary: "RunSummary", folder: Path, report: Path | None) -> str:
    """The summary of a run as JSON, with its folder and the path of its report."""
    return json.dumps({**summary.to_record(), "folder": str(folder), "report": report and str(report)}, indent=2)


def summary_text(summary: "RunSummary", folder: Path, report: Path | None) -> str:
    """The summary of a run as text, with the path of its report if there is one."""
    from cifar_edge.measure.metrics import accuracy as accuracy_of
    from cifar_edge.runs.run import OUT_OF_FOLD

    lines = []
    if summary.cross_validated_accuracy is not None and summary.cross_validated_images:
        count = summary.cross_validated_images
        estimate = accuracy_of(round(summary.cross_validated_accuracy * count), count)
        lines.append(
            f"{'cross-validation':<22}{estimate.value:.2%} of {count:,} images "
            f"(95 % interval {estimate.low:.2%} to {estimate.high:.2%})"
        )
    for title, accuracy, images, folded in (
        ("training", summary.train_accuracy, summary.train_images, None),
        ("validation", summary.holdout_accuracy, summary.holdout_images, summary.folded_holdout_accuracy),
        ("test", summary.test_accuracy, summary.test_images, summary.folded_test_accuracy),
    ):
        if accuracy is not None and images is not None:
            lines.append(f"{f'{title} accuracy':<22}{accuracy:.2%} of {images:,} images")
        if folded is not None:
            lines.append(f"{'  with norms folded':<22}{folded:.2%}")
    lines.append(f"{'parameters':<22}{summary.parameters:,}")
    lines.append(f"{'time':<22}{summary.seconds:.0f} s on {summary.device}")
    lines.append(f"{'run':<22}{display_name(folder)}")
    if report is not None:
        lines.append(f"{'report':<22}{display_name(report)}")
    if summary.data is not None and (folder / OUT_OF_FOLD).is_file():
        data = summary.data
        command = data_command(data.name, None if data.folder is None else Path(data.folder), data.holdout)
        lines.append(f"{'likely wrong labels':<22}{command} --model {shell_word(str(folder))}")
    return "\n".join(lines)
