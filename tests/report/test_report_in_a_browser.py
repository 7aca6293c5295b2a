"""Reports in real Chromium: from a file, without a network, for everyone, on a phone, in the dark and on paper."""

import io
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from web_helpers import Watched, violations

from cifar_edge.cli.main import main

SEEN = 8
"""Difference of two colours, of 255, from which on an eye might see it; Chromium rounds those of a gradient."""

# npm fetches axe; Chromium must be installed.
pytestmark = [pytest.mark.browser, pytest.mark.network]
pytest_plugins = ["web_fixtures"]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The reports of one model, and of two side by side."""
    folder = tmp_path_factory.mktemp("reports")
    made = {"one": ["gn-cnn"], "two": ["gn-cnn", "s8-group"]}
    for name, models in made.items():
        arguments = ["report", *models, "--data", "sample", "--out", str(folder / f"{name}.html")]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
    return {name: folder / f"{name}.html" for name in made}


@pytest.mark.parametrize("which", ["one", "two"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_accessibility_rules(
    browser: Browser, reports: dict[str, Path], which: str, scheme: str, width: int, axe: str
) -> None:
    with browser.new_context(color_scheme="dark" if scheme == "dark" else "light") as context:
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(reports[which].as_uri())
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert violations(page, axe) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_words_of_a_chart_are_whole_and_apart_on_a_phone(browser: Browser, reports: dict[str, Path]) -> None:
    with browser.new_context(viewport={"width": 320, "height": 800}) as context:
        page = context.new_page()
        page.goto(reports["one"].as_uri())
        for drawing in page.locator(".charts svg[role=img]").all():
            frame, *words = drawing.evaluate(
                """(drawing) => [drawing, ...drawing.querySelectorAll("text")].map((each) => {
                    const {left, top, right, bottom} = each.getBoundingClientRect();
                    return [left, top, right, bottom];
                })"""
            )
            assert all(left >= frame[0] and bottom <= frame[3] for left, _, _, bottom in words)
            for one, other in combinations(words, 2):
                assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def pixels(screenshot: bytes) -> npt.NDArray[np.int64]:
    """The pixels of a PNG."""
    return np.asarray(Image.open(io.BytesIO(screenshot)).convert("RGB")).astype(np.int64)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_wide_table_fades_where_it_goes_on(browser: Browser, reports: dict[str, Path], scheme: str) -> None:
    """At its right edge, until it is scrolled to its end; a table that fits is left as it is."""
    with browser.new_context(color_scheme="dark" if scheme == "dark" else "light") as context:
        page = context.new_page()
        for width, at, fades in ((360, 0, True), (360, 100_000, False), (1280, 0, False)):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(reports["one"].as_uri())
            region = page.get_by_role("region", name="Confusion matrix")
            region.evaluate("(region, at) => { region.scrollLeft = at; }", at)
            with_fade = pixels(region.screenshot())
            page.add_style_tag(content=".scroll::after { background: none !important; }")
            assert (np.abs(pixels(region.screenshot()) - with_fade).max() > SEEN) == fades


def test_it_asks_for_nothing_and_shows_everything(watched: tuple[Page, Watched], reports: dict[str, Path]) -> None:
    page, seen = watched
    page.goto(reports["one"].as_uri())
    page.evaluate("document.querySelectorAll('img').forEach((each) => { each.loading = 'eager'; })")
    page.wait_for_function("[...document.images].every((each) => each.complete)")
    assert page.evaluate("[...document.images].every((each) => each.naturalWidth > 0)")
    assert page.evaluate("document.images.length") > 20
    assert seen.errors == []
    assert [url for url in seen.requested if not url.startswith(("file:", "data:"))] == []


def test_the_sections_are_linked_and_the_recipe_can_be_saved(
    watched: tuple[Page, Watched], reports: dict[str, Path], tmp_path: Path
) -> None:
    page, _ = watched
    page.goto(reports["one"].as_uri())
    for link in page.get_by_role("navigation").get_by_role("link").all():
        link.click()
        expect(page.get_by_role("heading", name=link.inner_text(), exact=True)).to_be_in_viewport()
    with page.expect_download() as saving:
        page.get_by_role("link", name="recipe.toml").click()
    assert saving.value.suggested_filename == "recipe.toml"
    saving.value.save_as(tmp_path / "recipe.toml")
    assert 'model = "gn-cnn"' in (tmp_path / "recipe.toml").read_text()


def test_it_prints_in_light_on_few_sheets(browser: Browser, reports: dict[str, Path]) -> None:
    with browser.new_context(color_scheme="dark") as context:
        page = context.new_page()
        page.goto(reports["one"].as_uri())
        sheets = page.pdf(format="A4")
        assert 2 <= len(re.findall(rb"/Type\s*/Page\b", sheets)) <= 12
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        expect(page.get_by_role("navigation")).to_be_hidden()
