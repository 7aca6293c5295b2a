"""Names of files, runs and folders in what commands say: quoted where a terminal would not show them as they are."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from make_tiny_model import tiny_model
from PIL import Image

from cifar_edge.cli.main import main
from cifar_edge.cli.train_summary import summary_text
from cifar_edge.data import Dataset
from cifar_edge.errors import CifarEdgeError
from cifar_edge.files import check_writable, write_text
from cifar_edge.messages import display_name, shell_word
from cifar_edge.runs.resolve import resolve_model
from cifar_edge.runs.run import Run
from cifar_edge.runs.summary import RunSummary

ODD = "it's\x1b[31m odd\u202e"
SHOWN = r"it\'s\x1b[31m odd\u202e"
"""How a message shows that in a name, which is in quotes then."""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample: Dataset) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(sample.test_images[0]).save("cat.png")
    Path("tiny.onnx").write_bytes(tiny_model())
    Path(ODD).write_bytes(b"no folder")
    Path(f"{ODD}.html").write_text("no report")
    Path(f"{ODD}.full").mkdir()
    Path(f"{ODD}.full", "thesis.txt").write_text("mine")


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "cat.png", "--model", "tiny.onnx", "--resume", f"{ODD}.csv"],
        ["predict", "cat.png", "--model", "tiny.onnx", "--resume", ODD],
        ["predict", "cat.png", "--model", "tiny.onnx", "--resume", f"{ODD}/new.csv"],
        ["web", "tiny.onnx", "--out", f"{ODD}.full"],
        ["export", "gn-cnn", "--data", "sample", "--out", f"{ODD}/new"],
        ["train", "--data", "sample", "--preview", f"{ODD}/new.png"],
        ["train", "--data", "sample", "--preview", f"{ODD}.png"],
        ["report", "gn-cnn", "--out", f"{ODD}.html"],
        ["report", "gn-cnn", "--out", f"{ODD}.pdf"],
        ["summary", ODD],
        ["evaluate", "tiny.onnx", "--data", f"{ODD}.full"],
    ],
)
def test_an_odd_name_is_quoted(arguments: list[str]) -> None:
    said = CliRunner().invoke(main, arguments).stderr
    assert SHOWN in said
    assert ODD not in said


@pytest.mark.parametrize("write", [check_writable, lambda file: write_text(file, "text")])
def test_an_odd_name_is_quoted_where_a_file_cannot_be_written(write: object) -> None:
    assert callable(write)
    with pytest.raises(CifarEdgeError) as raised:
        write(Path(ODD, "new", "file"))
    assert str(raised.value).startswith(f"cannot write '{SHOWN}")
    assert ODD not in str(raised.value)


def test_an_odd_name_of_a_run_is_quoted_in_its_summary_and_where_it_is_taken() -> None:
    folder = Path("runs", ODD)
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text("")
    summary = RunSummary(model="gn-cnn", parameters=1, seconds=1.0, device="cpu")
    assert summary_text(summary, folder, folder / "report.html").splitlines()[-2:] == [
        f"run                   {display_name(folder)}",
        f"report                {display_name(folder / 'report.html')}",
    ]
    with pytest.raises(CifarEdgeError) as raised:
        Run(folder).check_new()
    assert str(raised.value).startswith(display_name(folder))


def test_a_command_in_an_error_can_be_pasted_into_a_shell() -> None:
    folder = Path("runs", "my run")
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    with pytest.raises(CifarEdgeError, match="is not exported yet") as raised:
        resolve_model(folder)
    assert f"run `cifar-edge export {shell_word(str(folder))}` first" in str(raised.value)
