"""`cifar-edge export` through the real command line."""

import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import RunCommand
from export_helpers import write_run

from cifar_edge.cli.main import main
from cifar_edge.cli.stages import Stages
from cifar_edge.data import Dataset
from cifar_edge.export import pipeline
from cifar_edge.export.pipeline import export_network
from cifar_edge.runtime.model import load


@pytest.fixture(scope="module")
def trained(sample: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the network that exports fastest."""
    return write_run(tmp_path_factory.mktemp("trained") / "s8-batch", "s8-batch", sample)


@pytest.fixture
def run_folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That run under ./runs, and no other."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(trained, tmp_path / "runs" / "20260101-000000-s8-batch")


def export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def test_newest_run_is_exported_into_itself(run_folder: Path, cifar_edge: RunCommand) -> None:
    result = cifar_edge("export", "--quantize", "--max-drop", "100")
    assert result.returncode == 0, result.stderr
    assert "250 test images of cifar10-sample" in result.stderr
    assert "deploy " in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    for precision in ("fp32", "int8"):
        metadata = load(run_folder / "export" / f"{run_folder.name}.{precision}.onnx").metadata
        assert (metadata.precision, metadata.test_images) == (precision, 250)


def test_it_says_at_which_stage_it_is(run_folder: Path) -> None:
    stages = [
        "making fp32 and int8",
        "comparing fp32 with PyTorch on 250 images",
        "comparing int8 with PyTorch on 250 images",
        "measuring latency",
        "writing report.html",
    ]
    said = export(run_folder, "--quantize", "--max-drop", "100").stderr.splitlines()
    assert [line for line in said if line in stages] == stages
    assert export(run_folder, "--quiet").stderr == ""


def test_stages_share_one_line_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", terminal)
    with Stages() as stages:
        stages.begin("making fp32 and int8")
        stages.tell("this stays")
        stages.begin("measuring latency")
        assert screen(terminal.getvalue()) == ["this stays", "  measuring latency ..."]
    assert screen(terminal.getvalue()) == ["this stays", ""]


def screen(written: str) -> list[str]:
    """The lines that a terminal shows, after carriage returns have let parts of them be written over."""
    lines = []
    for line in written.split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


def test_json_is_the_report(run_folder: Path, tmp_path: Path) -> None:
    result = export(run_folder, "--out", tmp_path / "elsewhere", "--json")
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed.pop("folder") == str(tmp_path / "elsewhere")
    assert printed.pop("report") == str(tmp_path / "elsewhere" / "report.html")
    assert printed == json.loads((tmp_path / "elsewhere" / "report.json").read_text())
    assert not (run_folder / "export").exists()


def test_files_are_called_by_the_run_or_by_the_name_given(run_folder: Path) -> None:
    for name, stem in ((["--name", "mine-1.0"], "mine-1.0"), ([], run_folder.name)):
        assert export(run_folder, *name).exit_code == 0
        written = {path.name for path in (run_folder / "export").iterdir()}
        assert written == {f"{stem}.fp32.onnx", "report.json", "report.md"}, "those of the earlier export are gone"
        assert load(run_folder / "export" / f"{stem}.fp32.onnx").metadata.model == "s8-batch"


def test_released_model_is_exported_elsewhere(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    released = shutil.copytree(trained, tmp_path / "models" / "s8-batch")
    monkeypatch.setattr("cifar_edge.files.zoo", lambda: tmp_path)
    before = sorted(released.iterdir())
    result = export(released)
    assert result.exit_code == 0
    assert sorted(released.iterdir()) == before
    (file,) = tmp_path.glob("runs/*-s8-batch/export/*.onnx")
    assert file.name == "s8-batch.fp32.onnx"
    shown = file.relative_to(tmp_path)
    assert result.stderr.splitlines()[-1] == f"wrote {shown}; next: cifar-edge predict --model {shown} photo.jpg"


@pytest.fixture
def _demanding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate demands that int8 gains 100 percentage points, which the command line does not let anyone ask for."""
    monkeypatch.setattr(
        pipeline, "export_network", lambda *given, **options: export_network(*given, **{**options, "max_drop": -100.0})
    )


@pytest.mark.usefixtures("_demanding")
def test_debug_names_the_layers_that_lose_most(run_folder: Path) -> None:
    result = export(run_folder, "--quantize", "--debug")
    assert result.exit_code == 3, "it tells even if int8 fails its gate"
    lines = result.stderr.splitlines()
    first = lines.index("signal-to-noise ratio after each layer of int8, against float:") + 1
    layers = [line.rsplit(maxsplit=2)[0].strip() for line in lines[first : first + 12]]
    assert layers == [*(f"convolution {i}" for i in range(1, 11)), "average pool 1", "convolution 11 to logits"]
    named = lines[first + 12].removeprefix("most is lost in ").split(", ")
    assert len(named) == 3
    assert set(named) < set(layers)


@pytest.mark.usefixtures("_demanding")
def test_failed_gate_exits_3_and_keeps_the_earlier_export(run_folder: Path) -> None:
    assert export(run_folder).exit_code == 0
    before = {path.name: path.read_bytes() for path in (run_folder / "export").iterdir()}
    result = export(run_folder, "--quantize")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("Error: int8 loses ")
    assert {path.name: path.read_bytes() for path in (run_folder / "export").iterdir()} == before


def test_damaged_weights_are_one_line(run_folder: Path) -> None:
    (run_folder / "model.safetensors").write_bytes(b"no weights")
    result = export(run_folder)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["no-such-run"], 1, "is called 'no-such-run'"),
        (["--max-drop=-1"], 2, "'-1' is not a number of percentage points of 0 or more"),
        (["--max-drop", "nan"], 2, "'nan' is not a number of percentage points"),
        (["--name", "a/b"], 2, "'a/b' is not made of at most 100 letters, digits, '-', '_' and '.'"),
        (["--debug"], 2, "--debug is about int8, which only --quantize makes"),
        (["--max-drop", "much"], 2, "'much' is not a number of percentage points"),
        (["--out", "runs/20260101-000000-s8-batch/summary.json"], 2, "is a file"),
        (["--data", "no-such-folder"], 1, "no-such-folder"),
    ],
)
def test_bad_arguments_are_one_line(run_folder: Path, arguments: list[str], exit_code: int, message: str) -> None:
    result = export(*arguments)
    assert result.exit_code == exit_code
    assert message in result.stderr.splitlines()[-1]
    assert not (run_folder / "export").exists()
