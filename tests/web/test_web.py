"""The web page in real Chromium, as a person uses it: every way in, what is seen and heard, offline, nothing leaves."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from service_helpers import serving as service_serving
from web_helpers import PagePerson, Pixels, Watched, photos, png, violations, write

from benchmarks.web.browser import Host, serving
from cifar_edge import Classifier
from cifar_edge.cli.prediction_records import columns
from cifar_edge.files import released
from cifar_edge.service.access import Access
from cifar_edge.web.build import built_page
from cifar_edge.web.site import site_files

# npm fetches what the page is built of; Chromium must be installed.
pytestmark = [pytest.mark.browser, pytest.mark.network]
pytest_plugins = ["web_fixtures"]

TOKEN = "0123456789abcdef"
WAITING = """async () => {
    const registration = await navigator.serviceWorker.ready;
    while (!registration.waiting) await new Promise((resolve) => setTimeout(resolve, 50));
}"""


# Every way in


def test_a_picture_is_dropped(person: PagePerson, cat: bytes) -> None:
    person.drop(cat, "tom.png")
    expect(person.page.locator("#scores li").first).to_contain_text("cat")
    expect(person.page.locator("#caption")).to_have_text("tom.png, 32 \N{MULTIPLICATION SIGN} 32")


def test_a_picture_is_pasted(person: PagePerson, cat: bytes) -> None:
    person.paste(cat)
    expect(person.page.locator("#scores li").first).to_contain_text("cat")


def test_the_last_of_several_pictures_counts(person: PagePerson, image_files: list[Path]) -> None:
    for picture in image_files:
        person.drop(picture.read_bytes(), picture.name)
    expect(person.page.locator("#caption")).to_contain_text(image_files[-1].name)
    expect(person.page.locator("#scores li").first).to_contain_text(image_files[-1].stem)


def test_many_pictures_are_a_table_and_a_csv_file(
    person: PagePerson, image_files: list[Path], classifier: Classifier
) -> None:
    """The columns and values of `predict --csv --top 3`; a name that a spreadsheet would compute is only text."""
    page = person.page
    files = {f"=1+{index}.png": path.read_bytes() for index, path in enumerate(image_files)} | {"notes.txt": b"No."}
    person.choose_many(files)
    expect(page.locator("#tally")).to_contain_text(f"{len(files)} pictures: ")
    expect(page.locator("#tally")).to_contain_text("without an answer 1.")
    expect(person.announcement).to_contain_text(f"{len(files)} pictures: ")
    rows = page.locator("#rows tr")
    answers = [classifier.predict(content) for content in list(files.values())[:-1]]
    shown = [row.split("\t")[1:] for row in rows.all_inner_texts()]
    assert shown[:-1] == [[answer.label, f"{answer.score:.1%}"] for answer in answers]
    assert shown[-1][0] == "this browser cannot read it as a picture"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    lines = list(csv.DictReader(download.value.path().read_text().splitlines()))
    assert list(lines[0]) == [column for column in columns(3) if column != "input_base64"]
    for line, answer, name in zip(lines, answers, files, strict=False):
        assert (line["version"], line["input"], line["model"]) == ("1", f"'{name}", classifier.metadata.identity)
        for rank, each in enumerate(answer.top(3), start=1):
            suffix = "" if rank == 1 else f"_{rank}"
            assert (line[f"label{suffix}"], line[f"index{suffix}"]) == (each.label, str(each.index))
            assert float(line[f"score{suffix}"]) == pytest.approx(each.score, rel=1e-6)
    assert (lines[-1]["label"], lines[-1]["error"]) == ("", "this browser cannot read it as a picture")
    rows.nth(3).get_by_role("button").click()
    expect(page.locator("#caption")).to_contain_text("=1+3.png")
    expect(rows).to_have_count(len(files))
    person.drop(image_files[0].read_bytes())  # a single picture takes their place
    expect(page.locator("#many")).to_be_hidden()


def test_the_first_readable_of_many_pictures_is_shown(person: PagePerson, cat: bytes) -> None:
    person.choose_many({"IMG_0042.HEIC": b"No.", "tom.png": cat})
    expect(person.page.locator("#caption")).to_contain_text("tom.png")
    expect(person.page.locator("#scores li").first).to_contain_text("cat")
    expect(person.page.locator("#tally")).to_contain_text("without an answer 1.")


def test_a_long_name_keeps_its_line_low(browser: Browser, host: Host, cat: bytes) -> None:
    with browser.new_context(viewport={"width": 320, "height": 800}) as context:
        page = context.new_page()
        person = PagePerson(page)
        person.open(host.url)
        long = "photograph" * 20 + ".png"
        person.choose_many({"cat.png": cat, long: cat})
        expect(page.locator("#tally")).to_contain_text("2 pictures: cat 2.")
        short, tall = (row.bounding_box() for row in page.locator("#rows tr").all())
        assert short is not None
        assert tall is not None
        assert tall["height"] < 2 * short["height"]
        page.get_by_role("button", name=long).click()
        expect(page.locator("#caption")).to_contain_text(long)


def test_another_network_answers_for_what_is_shown(watched: tuple[Page, Watched], tmp_path: Path, cat: bytes) -> None:
    page, seen = watched
    person = PagePerson(page)
    with serving(write(tmp_path, "gn-cnn", "gn-cnn-nano")) as host:
        person.open(host.url)
        person.classify(cat)
        page.get_by_label("Answers come from").select_option("1")
        expect(page.locator("#figures")).to_contain_text("gn-cnn-nano, int8")
        best, *_ = Classifier("gn-cnn-nano").predict(cat).top(1)
        expect(page.locator("#scores li").first).to_contain_text(f"{best.score:.1%}")
        expect(page.locator("#caption")).to_contain_text("image.png")
    assert seen.errors == []


def test_a_network_that_cannot_be_loaded_changes_nothing(browser: Browser, tmp_path: Path, cat: bytes) -> None:
    (write(tmp_path, "gn-cnn", "gn-cnn-nano") / "model-2.onnx").unlink()
    with serving(tmp_path) as host, browser.new_context() as context:
        page = context.new_page()
        person = PagePerson(page)
        page.goto(host.url)
        ready = page.locator("#state", has_text="Ready.")
        ready.wait_for()
        person.classify(cat)
        page.get_by_label("Answers come from").select_option("1")
        expect(person.problem).to_contain_text("That network could not be loaded: model-2.onnx: 404")
        expect(page.get_by_label("Answers come from")).to_have_value("0")
        expect(page.locator("#figures")).to_contain_text("gn-cnn, int8")
        expect(ready).to_be_visible()
        expect(person.result).to_be_visible()


def test_what_is_no_picture_is_told(person: PagePerson, cat: bytes) -> None:
    photo = png(next(photos(1)))
    bad = {"notes.txt": b"This is no picture.", "empty.png": b"", "truncated.png": photo[: len(photo) // 2]}
    for name, content in bad.items():
        person.classify(cat)
        person.choose(content, name)
        expect(person.problem).to_have_text(f"{name}: this browser cannot read it as a picture.")
        expect(person.result).to_be_hidden()
    person.classify(cat)
    expect(person.problem).to_be_empty()


def test_text_is_no_file(person: PagePerson) -> None:
    person.page.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.setData("text/plain", "words");
            document.body.dispatchEvent(new DragEvent("drop", {bubbles: true, dataTransfer}));
        }"""
    )
    expect(person.problem).to_contain_text("no picture file")


def test_the_camera_is_live(person: PagePerson) -> None:
    person.page.context.grant_permissions(["camera"])
    button = person.page.locator("#camera")
    button.click()
    expect(button).to_have_text("Stop the camera")
    expect(person.result).to_be_visible()
    first = person.shown()
    assert first.pixels[..., 1].mean() > 2 * first.pixels[..., 0].mean()  # the fake camera's picture is green
    expect(person.announcement).to_contain_text("Then")
    expect(person.page.locator("#times")).to_contain_text("A picture takes")
    expect(person.page.locator("#times")).to_contain_text("Pictures a second")
    assert any(not np.array_equal(frame, first.pixels) for frame in frames(person, 50))
    button.click()
    expect(button).to_have_text("Use the camera")
    expect(person.result).to_be_hidden()
    assert person.page.evaluate("video.srcObject === null")


def frames(person: PagePerson, count: int) -> Iterator[Pixels]:
    """What the network sees, ten times a second."""
    for _ in range(count):
        person.page.wait_for_timeout(100)
        yield person.shown().pixels


def test_a_picture_stops_the_camera(person: PagePerson, cat: bytes) -> None:
    person.page.context.grant_permissions(["camera"])
    person.page.locator("#camera").click()
    expect(person.page.locator("#video")).to_be_visible()
    person.drop(cat)
    expect(person.announcement).to_contain_text("cat")
    expect(person.page.locator("#video")).to_be_hidden()
    assert person.page.evaluate("video.srcObject === null")


def test_a_refused_camera_is_told(person: PagePerson) -> None:
    person.page.locator("#camera").click()
    expect(person.problem).to_contain_text("The camera cannot be used: Permission denied")
    expect(person.page.locator("#camera")).to_have_text("Use the camera")


# For everyone


def test_by_keyboard_alone(person: PagePerson, tmp_path: Path, cat: bytes) -> None:
    (tmp_path / "cat.png").write_bytes(cat)
    page = person.page
    page.context.grant_permissions(["camera"])
    page.on("filechooser", lambda chooser: chooser.set_files(tmp_path / "cat.png"))
    page.keyboard.press("Tab")
    expect(page.get_by_label("Choose pictures")).to_be_focused()
    assert page.locator("label[for=file]").evaluate("(label) => getComputedStyle(label).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(person.announcement).to_contain_text("cat")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Use the camera")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Stop the camera")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Use the camera")).to_be_focused()


def test_what_a_screen_reader_hears(person: PagePerson, cat: bytes, classifier: Classifier) -> None:
    person.classify(cat, "tom.png")
    best, second, third = (f"{each.label} {each.score:.1%}" for each in classifier.predict(cat).top(3))
    expect(person.page.get_by_role("status").filter(has_text="Then")).to_have_text(
        f"{best.replace(' ', ', ')}. Then {second}, {third}."
    )
    expect(person.page.get_by_role("img", name="tom.png")).to_be_visible()
    expect(person.page.get_by_role("img", name="as the network sees it")).to_be_visible()
    person.choose(b"no picture", "bad.png")
    expect(person.page.get_by_role("alert")).to_contain_text("bad.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_accessibility_rules(browser: Browser, host: Host, cat: bytes, scheme: str, width: int, axe: str) -> None:
    with browser.new_context(color_scheme="dark" if scheme == "dark" else "light") as context:
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 800})
        person = PagePerson(page)
        person.open(host.url)
        context.grant_permissions(["camera"])
        for act in (
            lambda: None,
            lambda: person.classify(cat),
            lambda: person.choose(b"bad"),
            lambda: person.choose_many({f"{number}.png": cat for number in range(3)}),
            lambda: page.locator("#camera").click(),
        ):
            act()
            page.wait_for_timeout(300)  # colours are in transition
            assert violations(page, axe) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_figures_are_those_of_the_file(person: PagePerson, classifier: Classifier) -> None:
    about, size = classifier.metadata, released("export/gn-cnn/gn-cnn.int8.onnx").stat().st_size
    assert about.test_accuracy is not None
    figures = person.page.locator("#figures").inner_text()
    for figure in (
        f"{about.test_accuracy:.2%} of 10,000 test images",
        f"{about.parameters:,}",
        f"{about.macs / 1e6:.2f} million",
        f"{size / 1e3:.1f} kB",
        "gn-cnn, int8",
    ):
        assert figure in figures


# Nothing leaves, and nothing is needed


def test_no_request_can_leave_the_origin(watched: tuple[Page, Watched], host: Host, tmp_path: Path) -> None:
    """The page's policy stops even a script of its own from telling another host."""
    page, seen = watched
    PagePerson(page).open(host.url)
    with serving(tmp_path) as other:
        attempts = [
            f"fetch('{other.url}').catch(() => 0)",
            f"void (new Image().src = '{other.url}')",
            f"import('{other.url}x.js').catch(() => 0)",
            f"void navigator.sendBeacon('{other.url}', 'pixels')",
        ]
        for attempt in attempts:
            page.evaluate(attempt)
        page.wait_for_timeout(200)
        assert other.asked == []
    assert len([error for error in seen.errors if error.startswith("CSP:")]) == len(attempts)
    assert all(url.startswith((host.url, "http://127.0.0.1:")) for url in seen.requested)


def test_it_works_offline_once_loaded(watched: tuple[Page, Watched], site: Path, cat: bytes) -> None:
    page, seen = watched
    person = PagePerson(page)
    with serving(site) as host:
        person.open(host.url)
    for address in (host.url, f"{host.url}index.html", f"{host.url}?from=home"):
        page.goto(address)
        person.classify(cat)
        expect(page.locator("#scores li").first).to_contain_text("cat")
    assert seen.errors == []


def test_another_version_replaces_what_was_kept(watched: tuple[Page, Watched], tmp_path: Path) -> None:
    page, seen = watched
    person = PagePerson(page)
    with serving(write(tmp_path)) as host:
        person.open(host.url)
        (kept,) = page.evaluate("caches.keys()")
        write(tmp_path, "s8-group")
        page.reload()  # shows what was kept, and finds that there is something newer
        page.wait_for_timeout(100)
        page.evaluate(WAITING)
        expect(page.locator("#figures")).to_contain_text("gn-cnn")
        again = page.context.new_page()
        page.close()
        for _ in range(20):  # the browser takes its time to let the new worker take over
            again.goto("about:blank")
            again.wait_for_timeout(250)
            PagePerson(again).open(host.url)
            if "s8-group" in again.locator("#figures").inner_text():
                break
        expect(again.locator("#figures")).to_contain_text("s8-group")
        (now,) = again.evaluate("caches.keys()")
        assert now != kept
    assert seen.errors == []


# From a service that has a token


def test_a_service_with_a_token_gives_its_model_to_who_has_it(
    watched: tuple[Page, Watched], cat: bytes, axe: str
) -> None:
    page, seen = watched
    files = site_files(built_page(print), [released("export/gn-cnn/gn-cnn.int8.onnx")], keep_models=False)[1]
    with service_serving(access=Access(token=TOKEN), page=files) as service:
        page.goto(f"http://127.0.0.1:{service.port}/")
        token, state = page.get_by_label("Token", exact=True), page.locator("#state")
        expect(token).to_be_focused()
        expect(state).to_have_text("Waiting for the token.")
        assert violations(page, axe) == []
        page.keyboard.type("ein Wort von früher")  # no token, and no header
        page.keyboard.press("Enter")
        expect(token).to_be_focused()
        token.fill("x" * 16)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert").filter(has_text="another token")).to_be_visible()
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.evaluate(f"navigator.clipboard.writeText('{TOKEN}')")
        token.press("ControlOrMeta+a")
        token.press("ControlOrMeta+v")
        expect(token).to_have_value(TOKEN)
        expect(PagePerson(page).problem).to_be_empty()  # it was no picture, and was not meant to be one
        page.get_by_role("button", name="Load the network").click()
        expect(state).to_have_text("Ready.")
        expect(token).to_be_hidden()
        PagePerson(page).classify(cat)
        expect(page.locator("#scores li").first).to_contain_text("cat")
        assert page.evaluate("caches.keys()") == []  # nothing of it is kept for who comes later
        page.reload()
        expect(token).to_be_focused()
    assert all("401" in error for error in seen.errors)  # the browser's own words, of each that was refused
