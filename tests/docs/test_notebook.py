"""The notebook: it runs from top to bottom, by public names only, and is committed as a real run left it."""

import ast
import importlib
import shutil
from pathlib import Path

import nbformat
import pytest
from conftest import CHECKOUT
from execute import execute, with_parameters
from nbformat import NotebookNode

NOTEBOOK = CHECKOUT / "notebooks" / "cifar_10_gn.ipynb"
MAX_BYTES = 1_500_000


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook: NotebookNode) -> str:
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs if output.output_type == "stream"]
    assert {output.name for output in outputs} == {"stdout"}, "a warning on stderr"
    return "".join(output.text for output in outputs)


def images_in(notebook: NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs)


@pytest.fixture(scope="module")
def committed() -> NotebookNode:
    notebook: NotebookNode = nbformat.read(NOTEBOOK, as_version=4)
    return notebook


@pytest.mark.filterwarnings("default")  # its kernel is another process; jupyter's own warnings are none of ours
def test_it_runs_from_top_to_bottom_on_the_sample(tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copytree(CHECKOUT / "docs" / "images", tmp_path / "docs" / "images")
    done = execute(NOTEBOOK, {"DATA": "sample", "EPOCHS": 1}, folder)
    text = printed(done)
    assert "epoch  1/1 " in text
    assert "fp32 passed" in text
    assert images_in(done) == 9
    (run,) = (folder / "runs").iterdir()
    assert (run / "export" / "s8-group.int8.onnx").is_file()


def test_it_is_committed_as_a_whole_real_run_left_it(committed: NotebookNode) -> None:
    cells = code_cells(committed)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    text = printed(committed)
    assert "epoch 20/20" in text
    assert "of 50,000 images" in text
    assert images_in(committed) == 9


def test_it_is_small_and_tells_nothing_of_the_machine(committed: NotebookNode) -> None:
    assert NOTEBOOK.stat().st_size <= MAX_BYTES
    assert set(committed.metadata) == {"kernelspec", "language_info"}
    assert committed.metadata.language_info == {"name": "python"}
    assert all(set(cell.metadata) <= {"tags"} for cell in committed.cells)
    text = printed(committed)
    assert "/" + str(Path.home()).strip("/").split("/")[0] + "/" not in text


def test_it_takes_public_names_only(committed: NotebookNode) -> None:
    documented = (CHECKOUT / "docs" / "api.md").read_text()
    (first, *_) = code_cells(committed)
    tree = ast.parse(first.source.replace("%matplotlib inline", ""))
    taken = {
        (statement.module, name.name)
        for statement in ast.walk(tree)
        if isinstance(statement, ast.ImportFrom) and statement.module and statement.module.startswith("cifar_edge")
        for name in statement.names
    }
    hidden = {
        f"{module}.{name}"
        for module, name in taken
        if name not in getattr(importlib.import_module(module), "__all__", []) and f"{module}.{name}" not in documented
    }
    assert taken
    assert hidden == set()


def test_an_unknown_parameter_is_an_error(committed: NotebookNode) -> None:
    with pytest.raises(ValueError, match="parameters has no EPOCH"):
        with_parameters(nbformat.from_dict(committed), {"EPOCH": 1})
