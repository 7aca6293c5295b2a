"""How long the network takes with each row of a camera's frame, and how many rows have to be kept meanwhile."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

from benchmarks.microcontrollers.processors import HERE, Processor, compiled, counted

RESULTS = Path(__file__).with_name("rows.csv")
PROCESSORS = ("Cortex-M0", "Cortex-M4")
"""Of plain C and of the DSP kernels."""
FRAMES = ((160, 120), (320, 240))
PACE = 1.5
"""Time that the rows of a frame take to come, in times that the processor takes for the frame."""


@dataclass(frozen=True)
class Line:
    """A network on a processor, with frames of one size: instructions of ``network_camera_row``.

    Attributes:
        median: of a row.
        most: of a row that others follow.
        last: of the last row, after which nothing comes.
        frame: of all rows.
        half: rows in either half of a ring that suffices for rows that come at `PACE`.
    """

    model: str
    processor: str
    width: int
    height: int
    median: int
    most: int
    last: int
    frame: int
    half: int


def measured(model: str, processor: Processor, folder: Path, counter: Path) -> Iterator[Line]:
    """The lines of the network called ``model``, whose C and images ``folder`` has."""
    for width, height in FRAMES:
        sources = [str(folder / name) for name in ("network.c", "network_camera.c")]
        size = [f"-DWIDTH={width}", f"-DHEIGHT={height}"]
        printed, _ = counted(processor, compiled(processor, folder, size, HERE / "rows.c", sources), counter)
        marks = [int(count) for count in re.findall(r"^mark (\d+)$", printed, re.MULTILINE)]
        rows = [after - before for before, after in zip(marks[::2], marks[1::2], strict=True)]
        figures = median_low(rows), max(rows[:-1]), rows[-1], sum(rows)
        yield Line(model, processor.name, width, height, *figures, half_of_ring(rows, PACE * sum(rows) / len(rows)))


def half_of_ring(rows: Sequence[float], period: float) -> int:
    """The least number of rows in either half of a ring that is not overrun.

    Args:
        rows: how long each row of a frame takes.
        period: time from one row of the camera to the next.
    """
    halves = (rows_in_half for rows_in_half in range(1, len(rows)) if len(rows) % rows_in_half == 0)
    return next((each for each in halves if _suffices(rows, period, each)), len(rows))


def _suffices(rows: Sequence[float], period: float, half: int) -> bool:
    """Whether each row is done before its place is written to again: as soon as the half behind its own is full."""
    now = 0.0
    for index, taken in enumerate(rows):
        full = (index // half + 1) * half
        now = max(now, full * period) + taken
        if full + half <= len(rows) and now > (full + half) * period:
            return False
    return True


def table(lines: Sequence[Line]) -> str:
    """Thousand instructions a row, and rows that have to be kept, in Markdown."""
    columns = "median row | longest row | last row | whole frame | half a ring"
    text = [f"| thousand instructions | processor | frame | {columns} |"]
    text.append("|---|---|---|--:|--:|--:|--:|--:|")
    for line in lines:
        numbers = " | ".join(f"{each / 1000:,.0f}" for each in (line.median, line.most, line.last, line.frame))
        text.append(
            f"| {line.model} | {line.processor} | {line.width} x {line.height} | {numbers} | {line.half} rows |"
        )
    return "\n".join(text)
