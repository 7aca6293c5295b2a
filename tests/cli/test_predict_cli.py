"""`cifar-edge predict` through the real command line."""

import base64
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import RunCommand
from PIL import Image
from tiny import TINY

from cifar_edge import Classifier
from cifar_edge.cli.main import main
from cifar_edge.columns import width
from cifar_edge.data import Dataset


@pytest.fixture
def folder(sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with three real images and three that are none."""
    for number in range(3):
        Image.fromarray(sample.test_images[number]).resize((40 + number, 50)).save(tmp_path / f"{number}.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("This is not an image.")
    content = (tmp_path / "0.png").read_bytes()
    (tmp_path / "short.png").write_bytes(content[: len(content) // 2])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predict(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["predict", "--model", str(TINY), *arguments])


def test_one_line_an_image(folder: Path) -> None:
    result = predict("0.png", "1.png", "2.png")
    assert result.exit_code == 0
    assert result.stderr == f"model: {TINY}\n"
    classifier = Classifier(TINY)
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    for number, line in enumerate(lines):
        answer = classifier.predict(folder / f"{number}.png")
        assert line.split() == [answer.label, f"{answer.score:.1%}", f"{number}.png"]
    assert len({line.index("%") for line in lines}) == 1
    assert max(map(len, lines)) < 80


def test_further_classes_stand_below(folder: Path) -> None:
    lines = predict("0.png", "1.png", "--top", "3").stdout.splitlines()
    answer = Classifier(TINY).predict(folder / "0.png")
    assert [line.split()[:2] for line in lines[:3]] == [[top.label, f"{top.score:.1%}"] for top in answer.top(3)]
    assert [line.startswith("  ") for line in lines] == [False, True, True] * 2
    assert len({line.index("%") for line in lines}) == 1
    assert len(predict("0.png", "--top", "99").stdout.splitlines()) == 10


def test_wide_class_names_do_not_shift_the_scores(folder: Path) -> None:
    pytest.importorskip("onnx")
    from make_tiny_model import changed_metadata, tiny_model

    labels = ["猫", "dog", "cafe\u0301", *(f"class {number}" for number in range(7))]
    Path("wide.onnx").write_bytes(tiny_model(metadata=changed_metadata(labels=labels)))
    lines = predict("0.png", "--model", "wide.onnx", "--top", "10").stdout.splitlines()
    assert {width(line.partition("%")[0]) for line in lines} == {len("  class 1  100.0")}


def test_a_bad_image_does_not_stop_the_others(folder: Path) -> None:
    result = predict("empty.png", "0.png", "missing.png", "text.png", "short.png", ".", "1.png")
    assert result.exit_code == 1
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["0.png", "1.png"]
    errors = result.stderr.splitlines()[1:]
    assert [error.split(":")[:2] for error in errors] == [
        ["Error", f" {name}"] for name in ("empty.png", "missing.png", "text.png", "short.png", ".")
    ]


def test_json_holds_every_input_in_order(folder: Path) -> None:
    result = predict("0.png", "text.png", "1.png", "--json", "--top", "2")
    assert result.exit_code == 1
    records = json.loads(result.stdout)
    assert [record["input"] for record in records] == ["0.png", "text.png", "1.png"]
    answer = Classifier(TINY).predict(folder / "0.png")
    assert records[0] == {
        "version": 1,
        "input": "0.png",
        "model": Classifier(TINY).metadata.identity,
        "label": answer.label,
        "index": answer.index,
        "score": answer.score,
        "top": [{"label": top.label, "index": top.index, "score": top.score} for top in answer.top(2)],
    }
    error = "text.png: not an image in a supported format; convert it to JPEG"
    assert records[1] == {"version": 1, "input": "text.png", "error": error}


def test_names_that_are_no_text_stay_on_one_line(folder: Path) -> None:
    strange = [os.fsdecode(b"\xff\xfe.png"), "line\nbreak.png", "naïve 猫.png"]
    for name in strange:
        Path(name).write_bytes((folder / "0.png").read_bytes())
    result = predict(*strange, "missing\n.png")
    assert (result.exit_code, len(result.stdout.splitlines()), len(result.stderr.splitlines())) == (1, 3, 2)
    assert "naïve 猫.png" in result.stdout
    records = json.loads(predict(*strange, "--json").stdout)
    assert [record["input"] for record in records] == ["\ufffd\ufffd.png", *strange[1:]]
    assert base64.b64decode(records[0]["input_base64"]) == b"\xff\xfe.png"
    assert "input_base64" not in records[2]


def test_a_bad_model_of_the_environment_names_the_variable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (["predict", "0.png"], ["serve", "--port", "0"]):
        monkeypatch.setenv("CIFAR_EDGE_MODEL", "nonsense")
        error = "Error: $CIFAR_EDGE_MODEL: no file, run, folder or released model is called 'nonsense'"
        assert CliRunner().invoke(main, command).stderr.startswith(error)
        monkeypatch.setenv("CIFAR_EDGE_MODEL", "text.png")
        error = "Error: text.png ($CIFAR_EDGE_MODEL) is damaged or not an ONNX model: "
        assert CliRunner().invoke(main, command).stderr.startswith(error)


@pytest.mark.parametrize(
    ("model", "message"),
    [("nonsense", "no file, run, folder or released model is called 'nonsense'"), ("text.png", "not an ONNX model")],
)
def test_a_bad_model_is_one_line(folder: Path, model: str, message: str) -> None:
    result = CliRunner().invoke(main, ["predict", "0.png", "--model", model])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_k_starts_at_1(folder: Path) -> None:
    assert predict("0.png", "--top", "0").exit_code == 2


def test_the_command_itself_takes_the_newest_export(folder: Path, cifar_edge: RunCommand) -> None:
    export = folder / "runs" / "20260301-120000-tiny" / "export"
    export.mkdir(parents=True)
    (export / "tiny.int8.onnx").write_bytes(TINY.read_bytes())
    (export / "report.json").write_text(json.dumps({"created": "2026-03-01T12:00:00+00:00"}))
    done = cifar_edge("predict", "0.png", "missing.png")
    assert done.returncode == 1
    assert done.stdout == predict("0.png").stdout
    assert done.stderr.splitlines() == [
        "model: runs/20260301-120000-tiny/export/tiny.int8.onnx (newest export under runs)",
        "Error: missing.png: no such file",
    ]
