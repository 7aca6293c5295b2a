"""An exported int8 file in another format: what an export of the network itself writes, without torch and onnx."""

import importlib
import pkgutil
import resource
from pathlib import Path

import pytest
from cli_helpers import heavy_imports_of, run_in_base_install
from click.testing import CliRunner
from export_helpers import write_run

import cifar_edge.export
from cifar_edge.cli.main import main
from cifar_edge.data import Dataset
from cifar_edge.files import released

INT8 = released("export/gn-cnn-nano/gn-cnn-nano.int8.onnx")
C = ("--target", "c", "--kernels", "generic")


def export(*arguments: str | Path) -> None:
    result = CliRunner().invoke(main, ["export", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_file_becomes_what_the_export_of_its_network_wrote(sample: Dataset, tmp_path: Path) -> None:
    run, exported, again = (tmp_path / name for name in ("run", "exported", "again"))
    write_run(run, "gn-cnn-nano", sample)
    targets = (*C, "--target", "onnx-float-head")
    export(run, "--quantize", "--max-drop", "100", *targets, "--out", exported)
    export(exported / "run.int8.onnx", *targets, "--out", again)
    written = contents(again)
    assert {"run.c/gn_cnn_nano.c", "run.float-head.onnx"} < written.keys()
    assert written == {name: content for name, content in contents(exported).items() if name in written}


def test_a_disk_that_is_full_leaves_nothing_and_names_no_path_that_the_user_does_not_know(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        result = CliRunner().invoke(main, ["export", str(INT8), "--target", "onnx-float-head", "--out", str(out)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.exit_code == 1
    said = f"Error: cannot write {out}/gn-cnn-nano.float-head.onnx: File too large"
    assert result.stderr.splitlines()[-1] == said
    assert list(tmp_path.iterdir()) == []


def test_c_of_a_file_loads_the_base_install_only(tmp_path: Path) -> None:
    arguments = ["export", str(INT8), *C, "--out", str(tmp_path / "board")]
    write = f"from cifar_edge.cli.main import main; main({arguments}, standalone_mode=False)"
    assert heavy_imports_of(write, tmp_path) == {"numpy", "onnxruntime", "PIL"}


def test_c_of_a_released_model_needs_no_torch(tmp_path: Path) -> None:
    done = run_in_base_install("export", "gn-cnn-nano", "--quantize", *C, "--out", tmp_path / "board", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "c passed: in C gn-cnn-nano.c/ gives the logits of int8, bit for bit, on 750 images\n"
    assert "without the extra train gn-cnn-nano is not quantized anew: its released int8 file is written" in done.stderr
    export(INT8, *C, "--out", tmp_path / "here")
    assert contents(tmp_path / "board") == contents(tmp_path / "here")


def test_litert_of_a_released_model_needs_no_torch(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    done = run_in_base_install(
        "export", "gn-cnn-nano", "--quantize", "--target", "litert", "--out", tmp_path, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path).keys() == {"gn-cnn-nano.int8.tflite"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["gn-cnn-nano", "--quantize"],
        ["gn-cnn-nano", "--quantize", "--target", "onnx"],
        ["gn-cnn-nano", "--quantize", "--target", "c", "--data", "sample"],
        ["gn-cnn-nano", "--quantize", "--target", "c", "--max-drop", "0.1"],
        ["gn-cnn-nano", "--quantize", "--target", "c", "--debug"],
    ],
)
def test_what_has_to_be_quantized_or_judged_anew_needs_torch(arguments: list[str], tmp_path: Path) -> None:
    done = run_in_base_install("export", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("; pip install 'cifar-edge[train]'\n")
    assert not list(tmp_path.iterdir())


def test_a_target_that_the_package_onnx_writes_says_so(tmp_path: Path) -> None:
    done = run_in_base_install("export", INT8, "--target", "onnx-float-head", "--out", tmp_path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    said = "Error: writing an .onnx file needs the package onnx: pip install onnx"
    assert done.stderr.splitlines()[-1] == said
    assert not list(tmp_path.iterdir())


def test_the_public_names_are_there_whatever_was_imported_before() -> None:
    """They are loaded at their first use, so a module of such a name would take its place."""
    modules = {found.name for found in pkgutil.iter_modules(cifar_edge.export.__path__)}
    assert modules.isdisjoint(cifar_edge.export.__all__)
    for name in cifar_edge.export.__all__:
        assert getattr(importlib.import_module("cifar_edge.export"), name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        cifar_edge.export.quantise  # noqa: B018 - to look is to raise
