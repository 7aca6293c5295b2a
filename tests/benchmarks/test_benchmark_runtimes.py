"""Other runtimes: the page has the table that the command wrote, and files are tried as the page says."""

from pathlib import Path

from conftest import CHECKOUT

from benchmarks import results_file
from benchmarks.runtimes.__main__ import RESULTS, Result, table, tried
from cifar_edge.runs.resolve import resolve_model


def test_the_page_has_the_results() -> None:
    results = results_file.read(RESULTS, Result)
    assert len(results) == 10
    assert table(results) in (CHECKOUT / "docs" / "deploy.md").read_text()


def test_a_runtime_that_is_not_installed_is_untried() -> None:
    (result,) = tried("not-a-package", [Path(resolve_model("gn-cnn.int8").path)])
    assert result.outcome == "untried: not installed"
