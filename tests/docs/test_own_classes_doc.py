"""The walk-through in docs/own-classes.md: its program writes the images that the page says."""

import re
from pathlib import Path

import pytest
from conftest import CHECKOUT

from benchmarks.pictures.transfer import RESULTS, Line
from benchmarks.results_file import read
from cifar_edge.data import load_dataset

PAGE = (CHECKOUT / "docs" / "own-classes.md").read_text()


def test_the_program_on_the_page_writes_the_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cifar_edge.data.folder.pixel_cache.cache_folder", lambda: tmp_path / "cache")
    found = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    exec(compile(found[1], "docs/own-classes.md", "exec"), {})
    dataset = load_dataset("digits", holdout=0.2)
    shown = re.findall(r"^  (\w+) +(\d+) +(\d+)$", PAGE, re.MULTILINE)
    assert dataset.labels == tuple(label for label, _, _ in shown)
    images = [*dataset.train_labels, *dataset.test_labels]
    for number, (label, train, test) in enumerate(shown):
        # Another zlib writes other bytes, and so another split of the same images.
        assert images.count(number) == int(train) + int(test), label


def test_the_table_of_bigger_networks_is_what_was_measured() -> None:
    lines = read(RESULTS, Line)
    rows = re.findall(
        r"^\|[^|]*\| (\d+)x\1 \| \**([\d.]+) %\** \| [\d.]+ \| ([\d.]+) MB \| ([\d.]+) ms \|$", PAGE, re.MULTILINE
    )
    measured = [
        (str(line.size), f"{line.accuracy:.1%}"[:-1], f"{line.kilobytes / 1e3:.1f}", f"{line.microseconds / 1e3:.1f}")
        for line in lines
    ]
    assert sorted(rows) == sorted(measured)
