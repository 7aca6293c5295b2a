"""Fixtures of the tests in Chromium: the page on a host, open in a browser, and watched."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import CHECKOUT
from playwright.sync_api import Browser, Page
from web_helpers import PagePerson, Watched, install_sources, write

from benchmarks.web.browser import Host, chromium, serving
from cifar_edge import Classifier


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with the released gn-cnn, int8."""
    return write(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def host(site: Path) -> Iterator[Host]:
    with serving(site) as host:
        yield host


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program of axe-core, which checks the rules of WCAG that a program can check."""
    sources = install_sources(tmp_path_factory.mktemp("web"))
    return (sources / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture
def watched(browser: Browser) -> Iterator[tuple[Page, Watched]]:
    with browser.new_context() as context:
        page = context.new_page()
        yield page, Watched(page)


@pytest.fixture
def person(watched: tuple[Page, Watched], host: Host) -> Iterator[PagePerson]:
    """The page, open and ready; at the end no error in its console, no breach of its policy, no request elsewhere."""
    page, seen = watched
    person = PagePerson(page)
    person.open(host.url)
    yield person
    assert seen.errors == []
    assert [url for url in seen.requested if not url.startswith(host.url)] == []


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier("gn-cnn")


@pytest.fixture(scope="module")
def cat() -> bytes:
    return (CHECKOUT / "docs" / "images" / "cat.png").read_bytes()
