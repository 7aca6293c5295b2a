"""What commands refuse before they do any work: in one line, with its exit code, and nothing is written."""

import json
from pathlib import Path

import pytest
import torch
from cli_helpers import run_in_base_install
from click.testing import CliRunner
from export_helpers import write_run

from cifar_edge.cli.main import main
from cifar_edge.data import Dataset, load_dataset
from cifar_edge.files import released
from cifar_edge.runs.lock import held
from cifar_edge.spec import METADATA_KEY

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an empty folder and files that are not what their names say."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"no folder")
    (tmp_path / "random.tflite").write_bytes(load_dataset("sample").test_images[0].tobytes())
    (tmp_path / "nothing.tflite").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        ("train --data sample --preview seen.jpg", 2, "seen.jpg is not the name of a .png file"),
        ("train --data sample --preview file/seen.png", 1, "file is not a folder"),
        ("train --data sample --teacher nowhere", 1, "the recipe's teacher: no file, run"),
        pytest.param("train --data sample --device cuda", 1, "there is no CUDA device here", marks=NO_GPU),
        ("evaluate --data sample --mistakes file/seen.png", 1, "file is not a folder"),
        ("report gn-cnn --data sample --out file/new/report.html", 1, "file is not a folder"),
        ("export gn-cnn --data sample --out file/new", 1, "file is not a folder"),
        ("web --out file/site", 1, "file is not a folder"),
        ("predict cat.png --json --csv", 2, "--json and --csv are two forms of the answers"),
        ("predict cat.png --csv --jsonl --resume answers.csv", 2, "--jsonl and --csv are two forms of the answers"),
        ("predict cat.png --model random.tflite", 1, "random.tflite is damaged or not a LiteRT model"),
        ("predict cat.png --model nothing.tflite", 1, "nothing.tflite is damaged or not a LiteRT model"),
        ("export gn-cnn --quantize --target coreml", 2, "no target is called 'coreml'; there are c, litert"),
        ("export file --target c", 2, "file is no model; MODEL is a run, by its folder or its name"),
        ("export random.tflite --quantize", 2, "random.tflite is no model; MODEL is a run, by its folder or its name"),
        ("export gn-cnn --quantize --target c --kernels fast", 2, "no kernels are called 'fast'"),
        ("export gn-cnn --quantize --kernels auto", 2, "--kernels is an option of the target c"),
        ("export --network mine.py:build", 2, "which only --quantize makes: add --quantize"),
        ("export gn-cnn --network mine.py:build --keep 0.9", 2, "leave out MODEL, --keep"),
        ("export --quantize --network mine.py", 2, "mine.py is not FILE.py:FUNCTION"),
        ("summary empty", 2, "empty is neither a run, nor the folder of an export, nor an .onnx file"),
        ("summary file", 2, "file is neither a run, nor the folder of an export, nor an .onnx file"),
        ("summary nowhere", 2, "no network is called 'nowhere'; there are gn-cnn"),
    ],
)
def test_what_cannot_be_done_is_refused_first(folder: Path, arguments: str, exit_code: int, message: str) -> None:
    before = sorted(folder.rglob("*"))
    result = CliRunner().invoke(main, arguments.split())
    assert (result.exit_code, result.stdout) == (exit_code, "")
    *usage, error = result.stderr.splitlines()
    assert error.startswith("Error: ")
    assert message in error
    assert all(line.startswith(("Usage: ", "Try ")) or not line for line in usage) == (exit_code == 2 or not usage)
    assert sorted(folder.rglob("*")) == before


def test_a_training_that_could_not_be_written_is_refused_first(folder: Path) -> None:
    Path("runs").write_bytes(b"no folder")
    result = CliRunner().invoke(main, ["train", "--data", "sample"])
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.endswith("runs is not a folder")


def test_an_export_of_an_own_network_that_could_not_be_written_is_refused_first(folder: Path) -> None:
    Path("mine.py").write_text("from torch import nn\n\nbuild = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))\n")
    own = ["export", "--network", "mine.py:build", "--quantize", "--data", "sample", "--out", "file/new"]
    result = CliRunner().invoke(main, own)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.endswith("file is not a folder")


def test_a_wrong_setting_of_a_folding_is_refused_before_the_images_are_looked_for(
    folder: Path, sample: Dataset
) -> None:
    run = write_run(folder / "run", "gn-cnn-nano", sample)
    (run / "recipe.toml").write_text('model = "gn-cnn-nano"\n')
    result = CliRunner().invoke(main, ["fold", str(run), "--set", "fold.contrst=1", "--data", "nowhere"])
    (line,) = result.stderr.splitlines()
    assert "no key 'fold.contrst' (did you mean fold.contrast?)" in line


@pytest.fixture
def runs(folder: Path) -> Path:
    """A finished run and an unfinished one, by their small files and the headers of their weights alone."""
    about = json.dumps({"model": "gn-cnn-nano", "labels": ["cat", "dog"], "size": 32})
    header = json.dumps({"__metadata__": {METADATA_KEY: about}}).encode()
    for name in ("finished", "training"):
        (folder / name).mkdir()
        (folder / name / "recipe.toml").write_text('model = "gn-cnn-nano"\n')
        (folder / name / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    summary = {"model": "gn-cnn-nano", "data": {"name": "mine", "source": "mine", "folder": "gone", "holdout": 0.2}}
    (folder / "finished" / "summary.json").write_text(json.dumps(summary))
    (folder / "training" / "state.safetensors").touch()
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("export finished", "finished is locked by another process, which trains, folds or exports it"),
        ("export training", "training is still training; wait until it is finished"),
        ("fold finished", "finished is locked by another process, which trains, folds or exports it"),
        ("fold training", "training is still training; wait until it is finished"),
        ("train --resume training", "training is locked by another process, which trains, folds or exports it"),
    ],
)
def test_a_run_in_other_hands_is_refused_before_torch_is_imported(runs: Path, arguments: str, message: str) -> None:
    with held(runs / "finished"), held(runs / "training"):
        result = run_in_base_install(*arguments.split(), cwd=runs)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert line.endswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("export finished", "the images it was trained on are no longer in gone"),
        ("export finished --data nowhere", "there is no nowhere; give an image folder"),
        ("export finished --data empty --holdout 0.3", "--holdout 0.3, but the training kept 0.2; leave it out"),
        ("export training", "training is not finished; resume it: cifar-edge train --resume training"),
        ("export --network mine.py:build --quantize --data nowhere", "there is no nowhere; give an image folder"),
        ("fold gn-cnn", "gn-cnn is a released model, which is never written to; give a run"),
        ("fold finished --continue", "finished has no folded network to go on from; fold it without --continue"),
        ("fold finished", "the images it was trained on are no longer in gone"),
        ("report nowhere", "no file, run, folder or released model is called 'nowhere'"),
        ("report finished --data nowhere", "there is no nowhere; give an image folder"),
        ("evaluate nowhere --mistakes seen.png", "no file, run, folder or released model is called 'nowhere'"),
        ("train --resume nowhere", "no run is called 'nowhere'; give a folder, or the name of one under runs"),
        ("train --resume empty", "empty holds no state.safetensors to go on from; was it a training?"),
        ("train --data nowhere", "there is no nowhere; give an image folder"),
    ],
)
def test_what_needs_no_torch_is_refused_before_it_is_imported(runs: Path, arguments: str, message: str) -> None:
    result = run_in_base_install(*arguments.split(), cwd=runs)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert message in line


def test_a_picture_that_needs_more_packages_is_refused_before_the_images_are_looked_for(folder: Path) -> None:
    result = run_in_base_install("evaluate", "gn-cnn", "--data", "nowhere", "--mistakes", "seen.png", cwd=folder)
    (line,) = result.stderr.splitlines()
    assert line.endswith("pip install 'cifar-edge[train]'")


def test_an_fp32_file_names_the_int8_file_beside_it(tmp_path: Path) -> None:
    exported = released("export/gn-cnn")
    fp32 = exported / "gn-cnn.fp32.onnx"
    result = CliRunner().invoke(main, ["export", str(fp32), "--target", "c", "--out", str(tmp_path / "board")])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is in fp32, and only an int8 file is written in other formats" in result.stderr
    assert result.stderr.endswith(f"give {exported / 'gn-cnn.int8.onnx'}\n")

    alone = tmp_path / fp32.name
    alone.write_bytes(fp32.read_bytes())
    result = CliRunner().invoke(main, ["export", str(alone), "--target", "c", "--out", str(tmp_path / "board")])
    assert result.exit_code == 1
    assert result.stderr.endswith("`cifar-edge export --quantize` writes one\n")
    assert list(tmp_path.iterdir()) == [alone]
