"""Targets: what an integer network is written in, each held to the network itself, all or nothing."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from export_helpers import answers, write_run

from cifar_edge.cli.main import main
from cifar_edge.data import Dataset
from cifar_edge.errors import CannotRun, ExportError, GateFailed
from cifar_edge.export.pipeline import export_network
from cifar_edge.export.targets import TARGETS, Target, target_options, write_targets
from cifar_edge.export.targets.gate import Outcome, Runner, Tolerance
from cifar_edge.files import released
from cifar_edge.integer import AveragePool, IntegerNetwork, Linear, Quantization
from cifar_edge.runtime.model import load, run
from cifar_edge.spec import CIFAR10_LABELS, ModelMetadata
from cifar_edge.training.checkpoint import load_network

ABOUT = ModelMetadata("means", "int8", CIFAR10_LABELS, 1, 1, "0" * 64, None, 0, {}, "now")


@dataclass(frozen=True)
class JsonOptions:
    """``indent`` of the file."""

    indent: int | None = None


def options(*names: str, **given: Any) -> dict[str, Any]:
    return target_options(names, given)


def words(text: str) -> str:
    """``text`` without line breaks."""
    return " ".join(text.split())


def write_head(network: IntegerNetwork, metadata: ModelMetadata, options: JsonOptions) -> dict[str, bytes]:
    """The integers of a network that is an average pool and a last layer."""
    pool, head = network.layers
    assert isinstance(pool, AveragePool)
    assert isinstance(head, Linear)
    integers = {"weights": head.weights.tolist(), "bias": head.bias.tolist(), "scale": float(network.logit_scale)}
    return {f"{metadata.model}.json": json.dumps(integers, indent=options.indent).encode()}


def run_head(files: Mapping[str, bytes], images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What such a file answers; its pool has the scale 1/64 and the zero point 128."""
    (integers,) = map(json.loads, files.values())
    means = np.rint((images.astype(int) - 128).sum((1, 2)) / np.float32(images[0, ..., 0].size))
    sums: npt.NDArray[np.float64] = means @ np.array(integers["weights"]).T + integers["bias"]
    return sums.astype(np.float32) * np.float32(integers["scale"])


def run_wrong(files: Mapping[str, bytes], images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """One logit of one image is off by a unit of the last place."""
    logits = run_head(files, images)
    logits[3, 1] = np.nextafter(logits[3, 1], np.float32(np.inf))
    return logits


@pytest.fixture
def network() -> IntegerNetwork:
    generator = np.random.default_rng(0)
    weights, bias = generator.integers(-64, 65, (10, 3)).astype(np.int8), generator.integers(-99, 99, 10)
    pool = AveragePool(Quantization(np.float32(1 / 64), 128))
    return IntegerNetwork(32, (pool, Linear(weights, None, bias.astype(np.int32), None)), np.float32(0.003))


def test_onnx_is_always_written_and_others_beside_it(
    network: IntegerNetwork, sample: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TARGETS, "json", Target(write_head, JsonOptions, "{stem}.json", (Runner("numpy", run_head),)))
    written = write_targets(options("json", "json"), network, ABOUT, sample.test_images, sample.test_labels)
    assert {name: list(target.files) for name, target in written.items()} == {
        "onnx": ["means.int8.onnx"],
        "json": ["means.json"],
    }
    logits = run(load(written["onnx"].files["means.int8.onnx"]).session, sample.test_images)
    assert np.array_equal(logits, answers(network, sample.test_images))


def test_files_that_answer_otherwise_fail_the_gate(
    network: IntegerNetwork, sample: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TARGETS, "json", Target(write_head, JsonOptions, "{stem}.json", (Runner("numpy", run_wrong),)))
    with pytest.raises(GateFailed, match="json does not compute what the integer network does: 1 of 250 images"):
        write_targets(options("json"), network, ABOUT, sample.test_images, sample.test_labels)


def test_int32_logits_are_compared_as_integers(
    network: IntegerNetwork, sample: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_sums(files: Mapping[str, bytes], images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        return network(images) + np.int32(len(images) < 250)

    monkeypatch.setitem(TARGETS, "json", Target(write_head, JsonOptions, "{stem}.json", (Runner("numpy", run_sums),)))
    written = write_targets(options("json"), network, ABOUT, sample.test_images, sample.test_labels)
    assert written["json"].outcomes[0].images == 250
    with pytest.raises(GateFailed, match=r"249 of 249 images get other logits in numpy, by up to 0\.003;"):
        write_targets(options("json"), network, ABOUT, sample.test_images[:249], sample.test_labels[:249])


def cannot_run(files: Mapping[str, bytes], images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    raise CannotRun("nothing here reads JSON")


def test_files_that_cannot_be_run_here_are_written_but_not_compared(
    network: IntegerNetwork, sample: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TARGETS, "json", Target(write_head, JsonOptions, "{stem}.json", (Runner("numpy", cannot_run),)))
    written = write_targets(options("json"), network, ABOUT, sample.test_images, sample.test_labels)["json"]
    assert list(written.files) == ["means.json"]
    assert written.outcomes == (Outcome("numpy", True, not_compared="nothing here reads JSON"),)


def test_options_reach_the_targets_that_have_them(
    network: IntegerNetwork, sample: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TARGETS, "json", Target(write_head, JsonOptions, "{stem}.json", (Runner("numpy", run_head),)))
    written = write_targets(options("onnx", "json", indent=2), network, ABOUT, sample.test_images, sample.test_labels)
    assert written["json"].files["means.json"].startswith(b'{\n  "weights"')
    with pytest.raises(ExportError, match="--indent is an option of the target json, which --target names"):
        options("onnx", indent=2)


def run_other(files: Mapping[str, bytes], images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Other logits, and other classes for the first two images."""
    logits = run_head(files, images) * np.float32(1.001)
    logits[:2] *= -1
    return logits


def test_a_program_that_rounds_in_another_way_is_given_a_tolerance(
    network: IntegerNetwork, sample: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judged(tolerance: Tolerance | None, images: int | None = None) -> Outcome:
        runner = Runner("numpy", run_other, tolerance, images)
        monkeypatch.setitem(TARGETS, "json", Target(write_head, JsonOptions, "{stem}.json", (runner,)))
        written = write_targets(options("json"), network, ABOUT, sample.test_images, sample.test_labels)
        return written["json"].outcomes[0]

    assert judged(Tolerance(agreement=0.99, drop=1.0)).agreement == 1 - 2 / 250
    assert judged(Tolerance(agreement=0.995, drop=1.0)).images == 250, "2 of 250 may be chance"
    with pytest.raises(
        GateFailed, match=r"differs too much from .* in numpy: 0\.80% of 250 images change class \(0\.1% may"
    ):
        judged(Tolerance(agreement=0.999, drop=1.0))
    with pytest.raises(GateFailed, match=r"4\.00% of 50 images"):
        judged(Tolerance(agreement=0.99, drop=1.0), images=50)
    with pytest.raises(GateFailed, match="250 of 250 images get other logits"):
        judged(None)


def test_a_program_is_no_worse_if_it_is_as_near_the_network_before_rounding(
    network: IntegerNetwork, sample: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_another(files: Mapping[str, bytes], images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        logits = run_head(files, images)
        logits[:20] *= -1
        return logits

    runner = Runner("numpy", run_another, Tolerance(agreement=0.99, drop=100.0))
    monkeypatch.setitem(TARGETS, "json", Target(write_head, JsonOptions, "{stem}.json", (runner,)))
    images, labels = sample.test_images, sample.test_labels
    integers = answers(network, images)
    other = integers.copy()
    other[:20] *= -1
    # The float network has the program's class for 10 of the 20 images, and the integer network's for the other 10.
    between = np.where(np.arange(250) % 2, integers.argmax(axis=1), other.argmax(axis=1))
    written = write_targets(options("json"), network, ABOUT, images, labels, float_classes=between)
    (outcome,) = written["json"].outcomes
    assert outcome.agreement == 1 - 20 / 250
    assert outcome.float_agreement == (0.96, 0.96)
    assert "92.00% of 250 images, no worse than int8 (of the network before rounding: 96.00%, int8 96.00%)" in (
        outcome.sentence("json", ["means.json"])
    )
    with pytest.raises(GateFailed, match=r"and 92\.00% get that of the network before rounding, 100\.00% by int8"):
        write_targets(options("json"), network, ABOUT, images, labels, float_classes=integers.argmax(axis=1))


def test_a_layer_that_a_target_has_no_form_for_is_one_line(
    network: IntegerNetwork, sample: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(network: IntegerNetwork, metadata: ModelMetadata, options: JsonOptions) -> Mapping[str, bytes]:
        raise TypeError("a Conv has no form in JSON")

    monkeypatch.setitem(TARGETS, "json", Target(write, JsonOptions, "{stem}.json", (Runner("numpy", run_head),)))
    with pytest.raises(ExportError, match="the target json cannot write this network: a Conv has no form in JSON"):
        write_targets(options("json"), network, ABOUT, sample.test_images, sample.test_labels)


def test_two_targets_do_not_write_one_file(
    network: IntegerNetwork, sample: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TARGETS, "again", TARGETS["onnx"])
    with pytest.raises(ExportError, match=r"two targets write means\.int8\.onnx"):
        write_targets(options("again"), network, ABOUT, sample.test_images, sample.test_labels)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_target_writes_where_it_says(name: str) -> None:
    network, target = IntegerNetwork.from_onnx(released("export/gn-cnn/gn-cnn.int8.onnx")), TARGETS[name]
    files = target.write(network, ABOUT, target.options())
    assert {file.partition("/")[0] for file in files} == {target.path.format(stem=ABOUT.model)}


def copies_of_onnx(network: IntegerNetwork, metadata: ModelMetadata, options: JsonOptions) -> Mapping[str, bytes]:
    """The ONNX file under another name."""
    (content,) = TARGETS["onnx"].write(network, metadata, None).values()
    return {"copy.bin": content, "copies/of/copy.bin": content}


def run_copies(files: Mapping[str, bytes], images: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """What the copy in the folder answers."""
    return run(load(files["copies/of/copy.bin"]).session, images)


def fails(files: Mapping[str, bytes], images: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """Zeros."""
    return np.zeros((len(images), 10), np.float32)


def test_an_export_writes_all_targets_or_nothing(
    sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_folder = write_run(tmp_path / "run", "gn-cnn-nano", sample)
    out = tmp_path / "out"
    monkeypatch.setitem(
        TARGETS, "copy", Target(copies_of_onnx, JsonOptions, "{stem}.int8.onnx", (Runner("numpy", run_copies),))
    )
    command = ["export", str(run_folder), "--quantize", "--max-drop", "100", "--out", str(out)]
    result = CliRunner().invoke(main, [*command, "--target", "onnx", "--target", "copy"])
    assert result.exit_code == 0, result.stderr
    said = "copy passed: in numpy copy.bin, copies/ gives the logits of int8, bit for bit, on 250 images"
    assert said in words(result.stdout)
    assert (out / "copy.bin").read_bytes() == (out / "run.int8.onnx").read_bytes()
    report = json.loads((out / "report.json").read_text())
    assert report["targets"] == {"onnx": ["run.int8.onnx"], "copy": ["copy.bin", "copies/of/copy.bin"]}
    (outcome,) = report["target_gates"]["copy"]["outcomes"]
    assert outcome == asdict(Outcome("numpy", True, 250, 1.0, 0.0))
    before = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    monkeypatch.setitem(TARGETS, "copy", replace(TARGETS["copy"], runners=(Runner("numpy", fails),)))
    result = CliRunner().invoke(main, [*command, "--target", "copy"])
    assert result.exit_code == 3
    assert "copy does not compute" in result.stderr.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before

    (out / "copies" / "mine.txt").write_text("of the user")
    monkeypatch.setitem(TARGETS, "copy", replace(TARGETS["copy"], runners=(Runner("numpy", cannot_run),)))
    result = CliRunner().invoke(main, [*command, "--target", "copy"])
    assert result.exit_code == 0, result.stderr
    assert "copy: copy.bin, copies/ was not compared here in numpy: nothing here reads JSON" in words(result.stdout)
    assert (out / "copies" / "mine.txt").read_text() == "of the user"

    assert CliRunner().invoke(main, command).exit_code == 0
    assert not (out / "copy.bin").exists(), "files of a target that is no longer asked for go with the earlier export"
    assert [path.name for path in (out / "copies").iterdir()] == ["mine.txt"]


def test_targets_that_cannot_be_written_are_one_line(sample: Dataset, tmp_path: Path) -> None:
    trained = load_network(write_run(tmp_path / "run", "s8-batch", sample))
    with pytest.raises(ExportError, match=r"no target is called 'onxn' \(did you mean onnx\?\)"):
        export_network(trained, sample, tmp_path / "out", quantize=True, max_drop=100, targets=options("onxn"))
    result = CliRunner().invoke(main, ["export", str(tmp_path / "run"), "--target", "c"])
    assert result.exit_code == 2
    assert "which only --quantize makes" in result.stderr


def test_networks_with_norms_have_no_other_target(
    sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        TARGETS, "copy", Target(copies_of_onnx, JsonOptions, "{stem}.int8.onnx", TARGETS["onnx"].runners)
    )
    trained = load_network(write_run(tmp_path / "run", "s8-batch", sample))
    with pytest.raises(ExportError, match="s8-batch has none, since its norms are not folded"):
        export_network(trained, sample, tmp_path / "out", quantize=True, max_drop=100, targets=options("copy"))
    assert not (tmp_path / "out").exists()
