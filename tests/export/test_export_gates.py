"""The gates' verdicts and the report's advice, on figures with known answers."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from cifar_edge.errors import GateFailed
from cifar_edge.export.parity import Comparison, compare, fp32_tolerance, judge_fp32, judge_int8
from cifar_edge.export.report import Report, Row
from cifar_edge.measure.metrics import Estimate
from cifar_edge.measure.timing import Timing
from cifar_edge.spec import Precision


def comparison_of(*, images: int, worse: int, better: int) -> Comparison:
    """The comparison with a reference that is right on all but the last ``better`` images.

    The export is wrong on the first ``worse`` images, and right on all others.
    """
    labels = np.zeros(images, np.int64)
    reference = np.tile(np.array([1.0, 0.0], np.float32), (images, 1))
    reference[images - better :] = [0.0, 1.0]
    logits = np.tile(np.array([1.0, 0.0], np.float32), (images, 1))
    logits[:worse] = [0.0, 1.0]
    return compare(logits, reference, labels)


def test_comparison_of_known_logits() -> None:
    reference = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)
    comparison = compare(reference + np.array([[0.1, 0.0], [0.0, 1.5]], np.float32), reference, np.array([1, 0]))
    assert comparison.max_difference == pytest.approx(1.5)
    assert comparison.changed == 1
    assert comparison.agreement == 0.5
    assert comparison.snr_db == pytest.approx(10 * np.log10(26 / 2.26))
    assert comparison.drop.value == 0.5


def test_logits_without_noise_have_no_signal_to_noise_ratio() -> None:
    logits = np.array([[3.0, 4.0]], np.float32)
    assert compare(logits, logits, np.array([1])).snr_db is None


@pytest.mark.parametrize("noise", [2e-4, -2e-4, np.nan])
def test_fp32_fails_on_other_numbers(noise: float) -> None:
    reference = np.array([[3.0, 4.0]], np.float32)
    with pytest.raises(GateFailed, match="0 of 1 images change class"):
        judge_fp32(compare(reference + np.array([[0.0, noise]], np.float32) * (1.0), reference, np.array([1])))


def test_fp32_fails_on_one_other_class() -> None:
    reference = np.array([[1.0, 1.00001]] * 10_000, np.float32)
    logits = reference.copy()
    logits[17] = [1.00001, 1.0]
    with pytest.raises(GateFailed, match="1 of 10000 images change class"):
        judge_fp32(compare(logits, reference, np.zeros(10_000, np.int64)))


def test_fp32_passes_on_rounding() -> None:
    reference = np.array([[3.0, 4.0]], np.float32)
    assert judge_fp32(compare(reference + np.float32(5e-5), reference, np.array([1]))) == "passed"


@pytest.mark.parametrize(
    ("images", "worse", "better", "verdict"),
    [
        (300, 6, 3, "undecided"),  # 3 % of classes changed, one point lost: a coin toss, not a failure
        (500, 0, 0, "undecided"),  # up to 0.55 points may be lost
        (600, 0, 0, "passed"),  # at most 0.46
        (4_999, 1, 0, "passed"),
        (4_999, 20, 0, "undecided"),
        (5_000, 0, 0, "passed"),
        (10_000, 200, 150, "passed"),  # half a point
        (10_000, 0, 500, "passed"),  # better than PyTorch
        (10_000, 200, 140, "undecided"),  # 0.6 points lost, of which 0.24 may be chance
    ],
)
def test_int8_verdicts(images: int, worse: int, better: int, verdict: str) -> None:
    assert judge_int8(comparison_of(images=images, worse=worse, better=better), 0.5, "PyTorch") == verdict


@pytest.mark.parametrize(("scale", "noise", "passes"), [(1e-3, 9e-5, True), (1.0, 2e-4, False), (100.0, 2e-3, True)])
def test_fp32_may_differ_by_a_fraction_of_the_largest_logit(scale: float, noise: float, passes: bool) -> None:
    reference = np.array([[3.0, 4.0]], np.float32) * np.float32(scale)
    comparison = compare(reference - np.array([[noise, 0.0]], np.float32), reference, np.array([1]))
    with nullcontext() if passes else pytest.raises(GateFailed, match=r"at most 0.0001 is allowed"):
        judge_fp32(comparison, fp32_tolerance(reference))


@pytest.mark.parametrize(("images", "worse", "better"), [(10_000, 200, 100), (300, 30, 0)])
def test_int8_fails_on_a_sure_loss(images: int, worse: int, better: int) -> None:
    comparison = comparison_of(images=images, worse=worse, better=better)
    loss = f"{100 * (worse - better) / images:.2f} percentage points"
    with pytest.raises(GateFailed, match=rf"int8 loses {loss} of accuracy against PyTorch .* 0.5 are allowed"):
        judge_int8(comparison, 0.5, "PyTorch")
    assert judge_int8(comparison, 20, "PyTorch") in ("passed", "undecided")


def row(precision: Precision, *, microseconds: float, size: int, images: int = 10_000) -> Row:
    return Row(
        name=precision,
        precision=precision,
        file=f"gn-cnn.{precision}.onnx",
        size=size,
        accuracy=Estimate(0.86, 0.85, 0.87, images),
        comparison=Comparison(3e-7, 0, 1.0, None, Estimate(0.001, -0.001, 0.003, images)),
        against_folded=None,
        rounding=Comparison(0.1, 0, 1.0, 20.0, Estimate(0.001, -0.001, 0.003, images)) if precision == "int8" else None,
        verdict="passed" if images >= 5_000 else "undecided",
        timing=Timing(microseconds / 1e6, 2 * microseconds / 1e6, 1e6 / microseconds),
    )


def report(*rows: Row, unfolded: bool = False) -> Report:
    long_name = "A Processor With A Very Long Name And All Of Its Trademarks (TM) @ 3.00GHz, 128 cores, Linux x86_64"
    return Report(
        "gn-cnn", "2026-01-01T00:00:00+00:00", rows, 0.5, unfolded, "cifar10 (cache)", long_name, {"onnx": "1.23"}
    )


FP32 = row("fp32", microseconds=100, size=200_000)


@pytest.mark.parametrize(
    ("int8", "deploy", "reason"),
    [
        (row("int8", microseconds=40, size=50_000), "int8", "int8 has 0.40 times the latency and 0.25 times the size"),
        (row("int8", microseconds=40, size=250_000), "int8", "though it is larger (1.25 times the size)"),
        (row("int8", microseconds=160, size=50_000), "fp32", "slower here (1.60 times the latency), for 0.25 times"),
        (row("int8", microseconds=160, size=250_000), "fp32", "slower here (1.60 times the latency), and larger (1.25"),
        (row("int8", microseconds=40, size=50_000, images=300), "int8", "int8 has 0.40 times the latency"),
    ],
)
def test_report_says_which_to_deploy_and_why(int8: Row, deploy: str, reason: str) -> None:
    result = report(FP32, int8)
    assert result.deploy == deploy
    assert reason in result.reason
    assert json.loads(result.to_json())["deploy"] == deploy
    for text in (result.to_table(), result.to_markdown()):
        assert reason in " ".join(text.split())


@pytest.mark.parametrize("columns", [40, 50, 60])
def test_the_table_fits_a_narrow_terminal_with_the_same_figures(columns: int) -> None:
    result = report(FP32, row("int8", microseconds=40, size=50_000))
    narrow = result.to_table(columns)
    assert max(map(len, narrow.splitlines())) <= columns
    assert set(result.to_table().split()) == set(narrow.split())


def folded_report(*, images: int, folding: tuple[int, int], rounding: tuple[int, int], of: int | None = None) -> Report:
    """Of an int8 that is faster: so many of the images got worse and better by folding, and by rounding of ``of``."""
    int8 = row("int8", microseconds=40, size=50_000, images=images)
    compared = comparison_of(images=of or images, worse=rounding[0], better=rounding[1])
    folded = replace(
        row("fp32", microseconds=80, size=200_000, images=images),
        name="folded fp32",
        file=None,
        comparison=comparison_of(images=images, worse=folding[0], better=folding[1]),
    )
    int8 = replace(int8, against_folded=compared, rounding=compared)
    return report(replace(FP32, name="GroupNorm fp32"), folded, int8)


@pytest.mark.parametrize(
    ("images", "folding", "rounding", "of", "deploy"),
    [
        (40, (1, 0), (0, 0), 200, "int8"),  # one image of few: it may be chance
        (40, (2, 0), (0, 0), 200, "fp32"),
        (40, (5, 5), (0, 0), 200, "int8"),  # as many won as lost
        (40, (5, 0), (0, 0), 200, "fp32"),
        (40, (1, 0), (1, 0), 200, "int8"),
        (40, (0, 0), (2, 0), 200, "fp32"),
        (365, (1, 0), (3, 0), 1_797, "int8"),  # 0.27 and 0.17 points
        (365, (2, 0), (0, 0), 1_797, "fp32"),  # 0.55 points
        (365, (0, 3), (20, 0), 1_797, "int8"),  # what folding wins may be lost by rounding
        (10_000, (50, 0), (0, 0), None, "int8"),
        (10_000, (51, 0), (0, 0), None, "fp32"),
        (10_000, (30, 0), (30, 0), None, "fp32"),
        (10_000, (0, 133), (1, 0), None, "int8"),
    ],
)
def test_int8_is_recommended_where_folding_and_rounding_lose_little(
    images: int, folding: tuple[int, int], rounding: tuple[int, int], of: int | None, deploy: str
) -> None:
    result = folded_report(images=images, folding=folding, rounding=rounding, of=of)
    assert result.deploy == deploy
    assert json.loads(result.to_json())["deploy"] == deploy
    assert ("may be lost" in result.reason) == (deploy == "fp32")
    assert ("undecided: no loss was found" in result.reason) == (deploy == "int8" and images < 5_000)


def test_the_reason_against_int8_says_what_lost_how_much_and_what_may_help() -> None:
    lost = "0.40 times the latency and 0.25 times the size of fp32, but folding loses 5 of 40 test images, rounding "
    assert folded_report(images=40, folding=(5, 0), rounding=(0, 0), of=200).reason == (
        f"int8 has {lost}loses 0 of 200 images, training ones included: 12.50 percentage points, where 0.5 may be "
        "lost; `cifar-edge fold` with more --epochs, or more training images, may help"
    )
    assert folded_report(images=5_000, folding=(0, 0), rounding=(50, 0)).reason.endswith(
        "rounding loses 50 of 5,000 test images: 1.00 percentage points, where 0.5 may be lost; "
        "`export --quantize --debug` names the layers that lose most"
    )


def test_the_report_says_what_few_images_can_and_cannot_show() -> None:
    few = folded_report(images=40, folding=(0, 1), rounding=(1, 0), of=9_000)
    for text in (few.to_table(), few.to_markdown()):
        assert (
            "folding gains 1 of 40 test images; on other images like these it may lose up to 5.67 percentage points "
            "(to tell 0.5, about 5,000 images are needed)"
        ) in " ".join(text.split())
        assert (
            "rounding loses 1 of 9,000 images, training ones included, and 1 change class; on other images like these "
            "it loses at most 0.5 percentage points"
        ) in " ".join(text.split())
        assert "int8 passed: against the folded network it loses +0.01 percentage points" in " ".join(text.split())
    fewer = folded_report(images=40, folding=(0, 0), rounding=(0, 0), of=200).to_table()
    assert "int8 undecided, too few images to tell: 200; against the folded network" in " ".join(fewer.split())
    many = folded_report(images=10_000, folding=(0, 133), rounding=(1, 0))
    for text in (many.to_table(), many.to_markdown()):
        assert "like these" not in " ".join(text.split())


def test_report_of_fp32_alone() -> None:
    result = report(FP32)
    assert result.deploy == "fp32"
    assert "--quantize" in result.reason
    assert "int8 " not in result.to_table().replace("no int8 ", "")


def test_graph_that_is_only_measured_is_never_the_one_to_deploy() -> None:
    folded = replace(row("fp32", microseconds=10, size=10), name="folded fp32", file=None)
    int8 = row("int8", microseconds=40, size=50_000)
    result = report(FP32, folded, replace(int8, against_folded=int8.comparison, rounding=int8.comparison))
    assert result.deploy == "int8"
    assert "int8 has 0.40 times the latency" in result.reason
    assert "| folded fp32 | none: for comparison |" in result.to_markdown()
    for text in (result.to_table(), result.to_markdown()):
        assert "against the network as trained it loses +0.10 percentage points" in " ".join(text.split())
        assert "against the folded network it loses +0.10 percentage points" in " ".join(text.split())


def test_report_tells_that_norms_could_be_folded() -> None:
    slow = row("int8", microseconds=160, size=50_000)
    assert "`cifar-edge fold`" in report(FP32, slow, unfolded=True).reason
    assert "`cifar-edge fold`" not in report(FP32, slow).reason
    assert "`cifar-edge fold`" not in report(FP32, unfolded=True).reason


def test_table_fits_a_terminal() -> None:
    slow = row("fp32", microseconds=12_345.6, size=999_999)
    int8 = row("int8", microseconds=99_999.9, size=1_234_567, images=300)
    table = report(
        replace(slow, name="GroupNorm fp32"),
        replace(slow, name="folded fp32", file=None),
        replace(int8, against_folded=int8.comparison, rounding=int8.comparison),
    ).to_table()
    assert max(map(len, table.splitlines())) <= 80
