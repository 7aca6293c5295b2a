"""What a MODEL argument means: every form of it, what is taken when none is given, and garbage in the way."""

import json
import os
import shutil
from pathlib import Path

import pytest
from tiny import TINY

from cifar_edge import files
from cifar_edge.errors import ModelError
from cifar_edge.runs.resolve import resolve_model, resolve_run


@pytest.fixture(autouse=True)
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of two released models, and an empty current folder."""
    folder = tmp_path / "zoo"
    for name in ("gn-cnn", "s8-layer"):
        write(folder / "models" / name, "model.safetensors")
    export(folder / "export" / "gn-cnn", "gn-cnn.fp32", "gn-cnn.int8")
    export(folder / "export" / "s8-layer", "s8-layer.fp32", "s8-layer.int8", deploy="fp32")
    write(folder / "export", "README.md")
    monkeypatch.setattr(files, "_ZOO_IN_WHEEL", folder)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def write(folder: Path, name: str, content: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content)
    return folder / name


def export(folder: Path, *names: str, **report: object) -> Path:
    """An export folder with those models, and a report if anything is to stand in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(TINY, folder / f"{name}.onnx")
    if report:
        write(folder, "report.json", json.dumps(report))
    return folder


def run(name: str, finished: str | None, exported: str | None = None) -> Path:
    """A run under ./runs, and its export if it has a time."""
    folder = Path("runs") / name
    write(folder, "summary.json", json.dumps({"model": "gn-cnn", "finished": finished}))
    if finished:
        write(folder, "model.safetensors")
    if exported:
        export(folder / "export", "gn-cnn.fp32", "gn-cnn.int8", created=exported)
    return folder


def test_without_anything_it_is_the_released_model(zoo: Path) -> None:
    found = resolve_model()
    assert found.path == zoo / "export/gn-cnn/gn-cnn.int8.onnx"
    assert str(found) == "released gn-cnn.int8"
    assert str(resolve_run()) == "released gn-cnn"


def test_the_newest_by_the_time_inside_is_taken() -> None:
    old = run("b", "2026-03-01T10:00:00+00:00", "2026-03-01T12:00:00+00:00")
    new = run("a", "2026-03-01T11:00:00+00:00", "2026-03-01T11:30:00Z")
    run("c", None)
    # What the file system says is the contrary, for both.
    for path in (new, new / "summary.json", new / "export/report.json"):
        os.utime(path, (1, 1))
    assert str(resolve_run()) == "runs/a (newest finished run under runs)"
    assert str(resolve_model()) == "runs/b/export/gn-cnn.int8.onnx (newest export under runs)"
    assert resolve_model().path.parent.parent == old


def test_times_are_compared_across_zones() -> None:
    run("east", "2026-03-01T12:00:00+09:00")
    run("utc", "2026-03-01T04:00:00")
    run("west", "2026-02-28T20:30:00-08:00")
    assert resolve_run().path.name == "west"


def test_the_environment_comes_before_the_runs(monkeypatch: pytest.MonkeyPatch, zoo: Path) -> None:
    run("a", "2026-03-01T11:00:00+00:00", "2026-03-01T11:30:00Z")
    monkeypatch.setenv("CIFAR_EDGE_MODEL", "s8-layer")
    assert str(resolve_model()) == "released s8-layer.fp32 ($CIFAR_EDGE_MODEL)"
    assert resolve_model("gn-cnn").reason == "released"
    monkeypatch.setenv("CIFAR_EDGE_MODEL", "")
    assert resolve_model().path == Path("runs/a/export/gn-cnn.int8.onnx")
    monkeypatch.setenv("CIFAR_EDGE_MODEL", "nonsense")
    with pytest.raises(
        ModelError, match=r"^\$CIFAR_EDGE_MODEL: no file, run, folder or released model is called 'nonsense'"
    ):
        resolve_model()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gn-cnn", "gn-cnn.int8"),
        ("gn-cnn.fp32", "gn-cnn.fp32"),
        ("gn-cnn.int8", "gn-cnn.int8"),
        ("s8-layer", "s8-layer.fp32"),
        ("s8-layer.int8", "s8-layer.int8"),
    ],
)
def test_released_names(zoo: Path, model: str, expected: str) -> None:
    found = resolve_model(model)
    assert found.path == zoo / "export" / expected.partition(".")[0] / f"{expected}.onnx"
    assert found.reason == "released"
    assert str(found) == f"released {expected}"
    assert str(resolve_model(found.path)) == str(found.path)  # what was given as a path is named as it was given


def test_a_run_a_folder_and_a_file() -> None:
    folder = run("a", "2026-03-01T11:00:00+00:00", "2026-03-01T11:30:00Z")
    expected = folder / "export" / "gn-cnn.int8.onnx"
    assert {resolve_model(given).path for given in (folder, str(folder), folder / "export", expected)} == {expected}
    assert str(resolve_model(folder)) == str(expected)
    assert resolve_run(folder).path == folder
    write(folder / "export", "report.json", json.dumps({"deploy": "fp32"}))
    assert resolve_model(folder).path.name == "gn-cnn.fp32.onnx"
    (folder / "export" / "gn-cnn.fp32.onnx").unlink()
    assert resolve_model(folder).path == expected
    other = export(Path("other"), "anything")
    assert resolve_model(other).path == other / "anything.onnx"


def test_a_folder_of_images_yields_to_the_run_of_its_name() -> None:
    folder = run("pets", "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00")
    write(Path("pets/cat"), "1.png")
    assert resolve_run("pets").path == folder
    assert resolve_model("pets").path.is_relative_to(folder)
    write(Path("other"), "1.png")
    with pytest.raises(ModelError, match="other has no"):
        resolve_run("other")


def test_a_path_comes_before_a_released_name() -> None:
    export(Path("gn-cnn"), "mine")
    assert resolve_model("gn-cnn").path == Path("gn-cnn/mine.onnx")
    write(Path("gn-cnn"), "model.safetensors")
    assert resolve_run("gn-cnn").path == Path("gn-cnn")


def test_a_file_that_is_being_written_is_no_model() -> None:
    folder = export(Path("runs/a/export"), ".gn-cnn.int8-x1y2", "gn-cnn.fp32", created="2026-03-01T11:30:00Z")
    assert resolve_model().path == folder / "gn-cnn.fp32.onnx"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "gn-cmn",
            "folder or released model is called 'gn-cmn' (did you mean gn-cnn?); released: gn-cnn, s8-layer",
        ),
        ("gn-cnn.fp", "is called 'gn-cnn.fp' (did you mean gn-cnn.fp32?)"),
        ("runs/b", "is called 'runs/b' (did you mean runs/a?)"),
        ("resnet", "is called 'resnet'; released: gn-cnn, s8-layer"),
        ("gn-cnn.fp16", "no file, run, folder or released model is called 'gn-cnn.fp16'"),
        ("../models/gn-cnn", "no file, run, folder or released model"),
        ("missing/model.onnx", "no file, run, folder or released model is called 'missing/model.onnx'"),
        ("", "the name of the model is empty"),
        ("line\nbreak", r"no file, run, folder or released model is called 'line\nbreak'"),
        ("null\0byte", "no file, run, folder or released model is called "),
        ("long" * 1000, "no file, run, folder or released model is called "),
        ("empty", "empty has no .onnx file"),
        ("runs/a", "runs/a is not exported yet; run `cifar-edge export runs/a` first"),
        ("many", "many holds a.fp32.onnx, b.int8.onnx; give the .onnx file you mean"),
    ],
)
def test_what_is_no_model(model: str, message: str) -> None:
    run("a", "2026-03-01T11:00:00+00:00")
    Path("empty").mkdir()
    export(Path("many"), "a.fp32", "b.int8")
    with pytest.raises(ModelError) as caught:
        resolve_model(model)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "gn-cmn",
            "folder or released model is called 'gn-cmn' (did you mean gn-cnn?); released: gn-cnn, s8-layer",
        ),
        ("gn-cnn.fp32", "no file, run, folder or released model is called 'gn-cnn.fp32'"),
        ("", "the name of the run or model is empty"),
        ("empty", "empty has no model.safetensors; is it a run, and is the run finished?"),
        ("model.onnx", "model.onnx is a file; give the folder of a run"),
    ],
)
def test_what_is_no_run(model: str, message: str) -> None:
    Path("empty").mkdir()
    write(Path(), "model.onnx")
    with pytest.raises(ModelError) as caught:
        resolve_run(model)
    assert message in str(caught.value)


GARBAGE = [
    b"",
    b"\xff\xfe garbage",
    b"[" * 100_000,
    b"[1, 2, 3]",
    b"null",
    b'{"created": 5, "finished": {"a": 1}}',
    b'{"created": "yesterday", "finished": "2026-13-45"}',
    b'{"created": null, "finished": null}',
    b'{"created": "9999-12-31T23:59:59-23:59", "deploy": ["x"], "finished": "0001-01-01T00:00:00+23:59"}',
]


def test_garbage_among_the_runs_is_passed_over() -> None:
    good = run("good", "2026-03-01T11:00:00+00:00", "2026-03-01T11:30:00Z")
    for number, content in enumerate(GARBAGE):
        folder = Path("runs") / f"garbage{number}"
        (folder / "export").mkdir(parents=True)
        (folder / "summary.json").write_bytes(content)
        (folder / "export" / "report.json").write_bytes(content)
    write(Path("runs"), "a file")
    Path("runs/dangling").symlink_to("nowhere")
    Path("runs/loop").symlink_to("loop")
    Path("runs/far").symlink_to("x" * 300)  # as the system refuses to follow one into a forbidden folder
    Path("runs/odd/export/report.json").mkdir(parents=True)
    Path("runs/pipe/export").mkdir(parents=True)
    os.mkfifo("runs/pipe/export/report.json")
    os.mkfifo("runs/pipe/summary.json")
    Path("runs/pipe/model.onnx").mkdir()
    assert resolve_model().path.parent.parent == good
    assert resolve_run().path == good


def test_runs_may_be_a_file() -> None:
    write(Path(), "runs")
    assert resolve_model().reason == "released"
    assert resolve_run().reason == "released"


def test_an_empty_zoo_is_said(zoo: Path) -> None:
    shutil.rmtree(zoo / "export")
    with pytest.raises(ModelError, match="'gn-cnn'; released: none"):
        resolve_model()


def test_what_a_wheel_leaves_out_is_said(zoo: Path) -> None:
    shutil.rmtree(zoo / "models" / "s8-layer")
    shutil.rmtree(zoo / "export" / "s8-layer")
    (zoo / "export" / "gn-cnn" / "gn-cnn.fp32.onnx").unlink()
    assert resolve_model("gn-cnn").path.name == "gn-cnn.int8.onnx"
    with pytest.raises(ModelError, match=r"gn-cnn\.fp32 is not in this wheel.*`cifar-edge export gn-cnn` writes both"):
        resolve_model("gn-cnn.fp32")
    for name in ("s8-layer", "s8-layer.int8"):
        with pytest.raises(ModelError, match=r"s8-layer is not in this wheel.*take export/s8-layer of the repository"):
            resolve_model(name)
    with pytest.raises(ModelError, match=r"s8-layer is not in this wheel.*take models/s8-layer of the repository"):
        resolve_run("s8-layer")
