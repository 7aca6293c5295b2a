"""The results of this benchmark: the lines of results.csv, and the table that the documentation has of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).with_name("results.csv")


@dataclass(frozen=True)
class Line:
    """A network; accuracies in percent, latencies of one image with one thread as ratios to our int8 in onnxruntime.

    Attributes:
        network: its name.
        weights: ``published``, or how long it was trained.
        size: height and width of the images.
        finetuned: epochs of fine-tuning after folding.
        images: of the test.
        outcome: ``passed``, or what the gates of onnx, c and litert said at 0.5 points.
        accuracy: of the network as given.
        folded: of the folded network.
        int8: of our int8 file.
        agreement: share of test images that int8 puts in the class of the network.
        static: accuracy of quantize_static.
        litert: accuracy of our .tflite file in LiteRT with XNNPACK.
        official: accuracy of the publishers' own int8 file; None if there is none.
        c_images: test images on which C computes int8's logits, bit for bit; all that were compared.
        fp32_time: of our fp32 file in onnxruntime.
        static_time: of quantize_static, in onnxruntime.
        litert_time: of our .tflite file.
        c_time: of C, compiled on this machine.
        official_time: of the publishers' own int8 file in LiteRT.
    """

    network: str
    weights: str
    size: int
    parameters: int
    macs: int
    finetuned: int
    images: int
    outcome: str
    accuracy: float
    folded: float
    int8: float
    agreement: float
    static: float
    litert: float
    official: float | None
    c_images: int
    fp32_time: float
    static_time: float
    litert_time: float
    c_time: float
    official_time: float | None
    machine: str


def table(lines: Sequence[Line]) -> str:
    """The results in Markdown: accuracies, then latencies."""
    rows = [
        "| network | weights | million MACs | network / folded / int8 | agree | quantize_static "
        "| fp32 | static | LiteRT | C |",
        "|---|---|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for line in lines:
        tuned = f", folded and {line.finetuned} epoch{'s' if line.finetuned > 1 else ''}" if line.finetuned else ""
        rows.append(
            f"| {line.network}, {line.size} px | {line.weights}{tuned} | {line.macs / 1e6:.1f} "
            f"| {line.accuracy:.2f} / {line.folded:.2f} / {line.int8:.2f} % | {line.agreement:.1f} % "
            f"| {line.static:.2f} % | {line.fp32_time:.2f} | {line.static_time:.2f} | {line.litert_time:.2f} "
            f"| {line.c_time:.2f} |"
        )
    return "\n".join(rows)
