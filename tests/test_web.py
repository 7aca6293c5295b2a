"""The web page in real Chromium, as a person uses it: every way in, what is seen and heard, offline, nothing leaves."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Host, chromium, serving
from click.testing import CliRunner
from conftest import CHECKOUT
from make_tiny_model import changed_metadata, tiny_model
from PIL import Image, ImageFilter, PngImagePlugin
from playwright.sync_api import Browser, Page, expect
from web_helpers import PagePerson, Pixels, encoded, install_sources, photos, png

from cifar_edge import Classifier
from cifar_edge.cli.main import main
from cifar_edge.data import Dataset
from cifar_edge.runtime.images import read_pixels

# npm fetches what the page is built of; Chromium must be installed.
pytestmark = [pytest.mark.browser, pytest.mark.network]

VIOLATIONS = "addEventListener('securitypolicyviolation', (event) => console.error('CSP:', event.blockedURI))"
WAITING = """async () => {
    const registration = await navigator.serviceWorker.ready;
    while (!registration.waiting) await new Promise((resolve) => setTimeout(resolve, 50));
}"""


def write(folder: Path, model: str = "gn-cnn") -> Path:
    result = CliRunner().invoke(main, ["web", model, "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


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


class Watched:
    """A page of which every console error and every request is kept."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.requested: list[str] = []
        page.add_init_script(VIOLATIONS)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.context.on("request", lambda request: self.requested.append(request.url))


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


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program of axe-core, which checks the rules of WCAG that a program can check."""
    sources = install_sources(tmp_path_factory.mktemp("web"))
    return (sources / "node_modules" / "axe-core" / "axe.min.js").read_text()


# The same answer as the Python runtime's


def assert_same(person: PagePerson, content: bytes, classifier: Classifier, kind: str = "image/png") -> None:
    shown = person.classify(content, kind=kind)
    assert np.array_equal(shown.pixels, read_pixels(content))
    assert shown.top == [(each.label, f"{each.score:.1%}") for each in classifier.predict(content).top(3)]


def test_200_images_of_cifar_10(person: PagePerson, sample: Dataset, classifier: Classifier) -> None:
    for image in sample.test_images[:200]:
        assert_same(person, png(Image.fromarray(image)), classifier)


def test_50_photos(person: PagePerson, classifier: Classifier) -> None:
    for photo in photos(50):
        assert_same(person, png(photo), classifier)


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA"])
def test_other_kinds_of_pixels(person: PagePerson, classifier: Classifier, mode: str) -> None:
    for photo in photos(7):
        assert_same(person, png(photo.convert(mode)), classifier)


def test_transparent_pixels_are_grey(person: PagePerson, classifier: Classifier) -> None:
    random = np.random.default_rng(0)
    for photo in photos(14):
        alpha = Image.fromarray(random.integers(0, 256, photo.size[::-1], dtype=np.uint8))
        photo.putalpha(alpha.filter(ImageFilter.BoxBlur(1)))
        assert_same(person, png(photo), classifier)


def test_no_colour_profile_is_applied(person: PagePerson, classifier: Classifier) -> None:
    """Pillow takes the numbers as they are; so does the page, even of a picture that claims to be linear."""
    linear = PngImagePlugin.PngInfo()
    linear.add(b"gAMA", (100_000).to_bytes(4, "big"))
    for photo in photos(7):
        assert_same(person, png(photo, pnginfo=linear), classifier)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_camera_is_undone(person: PagePerson, classifier: Classifier, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    astronaut = next(photos(1)).crop((100, 0, 420, 256))
    assert_same(person, png(astronaut, exif=exif), classifier)
    content = encoded(astronaut, "JPEG", quality=95, exif=exif)
    shown = person.classify(content, kind="image/jpeg")
    assert np.abs(shown.pixels.astype(int) - read_pixels(content)).max() <= 2  # decoders may differ, by little


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats(person: PagePerson, kind: str) -> None:
    """Decoders may differ, by little; a colour profile, a smoothing of the chroma or a crop would by more."""
    for photo in photos(14):
        content = encoded(photo, kind, quality=90)
        shown = person.classify(content, kind=f"image/{kind.lower()}")
        assert np.abs(shown.pixels.astype(int) - read_pixels(content)).max() <= 2


def test_fp32_in_a_folder_of_the_host(watched: tuple[Page, Watched], tmp_path: Path, cat: bytes) -> None:
    write(tmp_path / "some" / "where", "gn-cnn.fp32")
    with serving(tmp_path) as host:
        person = PagePerson(watched[0])
        person.open(f"{host.url}some/where/")
        assert_same(person, cat, Classifier("gn-cnn.fp32"))
        expect(person.page.locator("#figures")).to_contain_text("gn-cnn, fp32")


def test_own_classes(watched: tuple[Page, Watched], tmp_path: Path, cat: bytes) -> None:
    """Two of them, fewer than the page has lines for, with names that would break a careless page."""
    labels = ["<b onclick=alert()>Katze</b>", "Donaudampfschifffahrtsgesellschaft" * 5]
    model = tmp_path / "own.onnx"
    model.write_bytes(tiny_model(changed_metadata(labels=labels), output_shape=("batch", 2), classes=2))
    page, seen = watched
    page.set_viewport_size({"width": 320, "height": 800})
    with serving(write(tmp_path / "site", str(model))) as host:
        person = PagePerson(page)
        person.open(host.url)
        assert_same(person, cat, Classifier(model))
        assert sorted(label for label, _ in person.shown().top) == sorted(labels)
        expect(page.locator("#figures")).to_contain_text("not measured")
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert seen.errors == []


# Every way in


def test_a_picture_is_dropped(person: PagePerson, cat: bytes) -> None:
    person.drop(cat, "tom.png")
    expect(person.page.locator("#scores li").first).to_contain_text("cat")
    expect(person.page.locator("#caption")).to_have_text("tom.png, 32 \N{MULTIPLICATION SIGN} 32")


def test_a_picture_is_pasted(person: PagePerson, cat: bytes) -> None:
    person.paste(cat)
    expect(person.page.locator("#scores li").first).to_contain_text("cat")


def test_the_last_of_several_pictures_counts(person: PagePerson, pictures: list[Path]) -> None:
    for picture in pictures:
        person.drop(picture.read_bytes(), picture.name)
    expect(person.page.locator("#caption")).to_contain_text(pictures[-1].name)
    expect(person.page.locator("#scores li").first).to_contain_text(pictures[-1].stem)


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
    page.keyboard.press("Tab")
    expect(page.get_by_label("Choose a picture")).to_be_focused()
    assert page.locator("label").evaluate("(label) => getComputedStyle(label).outlineStyle") == "solid"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(tmp_path / "cat.png")
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
        page.evaluate(axe)
        for act in (lambda: None, lambda: person.classify(cat), lambda: person.choose(b"bad")):
            act()
            page.wait_for_timeout(300)  # colours are in transition
            violations = page.evaluate("axe.run().then(({violations}) => violations)")
            assert [(each["id"], each["nodes"][0]["html"]) for each in violations] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_figures_are_those_of_the_file(person: PagePerson) -> None:
    figures = person.page.locator("#figures").inner_text()
    for figure in ("89.23% of 10,000 test images", "49,158", "6.92 million", "55.6 kB", "gn-cnn, int8"):
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
        again.wait_for_timeout(500)  # the browser lets the new worker take over
        again.goto(host.url)
        expect(again.locator("#figures")).to_contain_text("s8-group")
        (now,) = again.evaluate("caches.keys()")
        assert now != kept
    assert seen.errors == []
