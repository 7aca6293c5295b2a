"""The pages: each says what it gives and what comes next, its links lead somewhere, its programs in Python run."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CHECKOUT

from cifar_edge.data import load_dataset

DOCS = sorted((CHECKOUT / "docs").glob("*.md"))
TRACKED = subprocess.run(["git", "ls-files", "*.md"], cwd=CHECKOUT, capture_output=True, text=True, check=False).stdout
PAGES = [CHECKOUT / name for name in TRACKED.split()] or [*CHECKOUT.glob("*.md"), *DOCS]

PROGRAMS: dict[str, dict[str, Any]] = {
    "api.md": {"upload": b"no image"},
    "integer-network.md": {},
    "predict.md": {"camera": lambda: load_dataset("sample").test_images[:3]},
}
"""Pages whose programs in Python run here, with the names that they leave to the reader."""

ELSEWHERE = {
    "deploy.md": "tests/docs/test_programs.py",
    "litert.md": "tests/docs/test_programs.py",
    "own-classes.md": "tests/docs/test_own_classes_doc.py",
    "own-network.md": "nowhere yet: it needs a trained network",
    "raspberry-pi.md": "nowhere: it needs a camera",
}
"""Pages with programs in Python that do not run here, and where they run."""


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```|`[^`\n]+`", "", text, flags=re.DOTALL | re.MULTILINE)


def programs(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@cache
def anchors(page: Path) -> set[str]:
    """Anchors of its headings, as a code host makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.M), re.M)
    found: set[str] = set()
    for heading in headings:
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = 1
        while (name := anchor if anchor not in found else f"{anchor}-{number}") in found:
            number += 1
        found.add(name)
    return found


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_a_page_begins_with_what_it_gives_and_ends_with_what_comes_next(page: Path) -> None:
    title, _, first, *_ = page.read_text().splitlines()
    assert title.startswith("# ")
    assert re.match(r"[A-Z]|`\w|\[", first), first
    if page.name != "index.md":  # it lists all that comes next
        last = re.split(r"^## Next$|\n\n(?=Next: )", page.read_text(), flags=re.MULTILINE)
        assert len(last) == 2
        assert "](" in last[1]
        assert "\n#" not in last[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)|src(?:set)?=\"([^\"]+)\"", without_code(page.read_text()))
    for link in (markdown or html for markdown, html in links):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def test_every_page_with_programs_is_tried() -> None:
    assert {page.name for page in DOCS if programs(page)} == PROGRAMS.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_programs_of_a_page_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as a reader would type them, in a folder with the released model and some photographs."""
    for folder in ("docs/images", "export/gn-cnn"):
        shutil.copytree(CHECKOUT / folder, tmp_path / folder)
    (tmp_path / "photos").mkdir()
    shutil.copy(CHECKOUT / "docs/images/chelsea.jpg", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "program", **PROGRAMS[name]}
    for program in programs(CHECKOUT / "docs" / name):
        exec(compile(program, name, "exec"), names)
    if name == "integer-network.md":
        assert np.asarray(names["logits"]).shape == (250, 10)
