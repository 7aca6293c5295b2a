"""The documentation site: navigation from the index page's lists, links to folders, pages that nobody lists."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CHECKOUT

CONF = f"""
import sys
sys.path.insert(0, {str(CHECKOUT / "docs")!r})
extensions = ["myst_parser", "site_links"]
root_doc = "docs/index"
include_patterns = ["**.md"]
"""
INDEX = """
# Home

See [the models](../models/) and a [page beside the lists](other.md).

## First part

- [A page](page.md)

## Second part

- [Models](../models/README.md)
"""
PAGES = {"docs/index.md": INDEX, "docs/page.md": "# Page\n\n[code](../code/)", "models/README.md": "# All models"}


def build(folder: Path, pages: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Build a site of these pages in ``folder``, warnings being errors."""
    for name, text in {"conf.py": CONF, "code/main.py": "", **pages}.items():
        path = folder / "checkout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    command: list[str | Path] = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q"]
    command += [folder / "checkout", folder / "site"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    index = INDEX.replace(" and a [page beside the lists](other.md)", "")
    done = build(folder, {**PAGES, "docs/index.md": index})
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "site"


def test_each_section_of_the_index_is_a_part_of_the_navigation(site: Path) -> None:
    page = (site / "docs" / "page.html").read_text()
    entries = [
        '<span class="caption-text">First part</span>',
        ">A page</a>",
        '<span class="caption-text">Second part</span>',
        'href="../models/README.html">Models</a>',
    ]
    places = [page.index(entry) for entry in entries]
    assert places == sorted(places)


def test_a_link_to_a_folder_leads_to_its_readme_or_nowhere(site: Path) -> None:
    index, page = ((site / "docs" / f"{name}.html").read_text() for name in ("index", "page"))
    assert 'href="../models/README.html"><span class="std std-doc">the models</span></a>' in index
    assert '<p><span class="xref myst">code</span></p>' in page


def test_the_site_opens_at_the_index(site: Path) -> None:
    assert 'content="0; url=docs/index.html"' in (site / "index.html").read_text()


def test_a_page_that_no_list_names_fails_the_build(tmp_path: Path) -> None:
    done = build(tmp_path, {**PAGES, "docs/other.md": "# Other"})
    assert done.returncode == 1
    assert "other.md: WARNING: document isn't included in any toctree" in done.stderr


def test_a_dead_link_fails_the_build(tmp_path: Path) -> None:
    done = build(tmp_path, PAGES)
    assert done.returncode == 1
    assert "other.md" in done.stderr
