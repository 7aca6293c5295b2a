"""The walk-through in docs/own-classes.md: its program writes the images that the page says."""

import re
from pathlib import Path

import pytest
from conftest import CHECKOUT

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
