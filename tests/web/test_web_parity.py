"""The web page in real Chromium sees the pixels that the Python runtime sees, and gives the same answer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from export_helpers import NETWORKS, train
from make_tiny_model import METADATA, changed_metadata, tiny_model
from PIL import Image, ImageFilter, PngImagePlugin
from playwright.sync_api import Page, expect
from web_helpers import PagePerson, Watched, encoded, photos, png, write

from benchmarks.web.browser import serving
from cifar_edge import Classifier
from cifar_edge.data import Dataset
from cifar_edge.export.graphs import serialize
from cifar_edge.export.integers import quantize
from cifar_edge.export.targets.onnx_graph import integer_graph
from cifar_edge.runtime.images import read_pixels

# npm fetches what the page is built of; Chromium must be installed.
pytestmark = [pytest.mark.browser, pytest.mark.network]
pytest_plugins = ["web_fixtures"]


def assert_same(person: PagePerson, content: bytes, classifier: Classifier, kind: str = "image/png") -> None:
    shown = person.classify(content, kind=kind)
    assert np.array_equal(shown.pixels, classifier.read(content))
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


@pytest.mark.parametrize("name", ["columns", "growing"])
def test_networks_of_other_layers(
    watched: tuple[Page, Watched], tmp_path: Path, sample: Dataset, cat: bytes, name: str
) -> None:
    """A first layer in columns, and residuals whose shortcuts have finer scales."""
    network = NETWORKS[name]()
    train(network, sample)
    integers = quantize(network.eval().requires_grad_(False), sample.train_images)
    graph, model = integer_graph(integers), tmp_path / "net.int8.onnx"
    assert ("Pad" in {node.op_type for node in graph.graph.node}) == (name == "columns")
    model.write_bytes(serialize(graph, replace(METADATA, precision="int8")))
    with serving(write(tmp_path / "site", str(model))) as host:
        person = PagePerson(watched[0])
        person.open(host.url)
        for content in (cat, *(png(Image.fromarray(image)) for image in sample.test_images[:50])):
            assert_same(person, content, Classifier(model))


def test_the_released_gn_cnn_max(watched: tuple[Page, Watched], tmp_path: Path, sample: Dataset) -> None:
    with serving(write(tmp_path / "site", "gn-cnn-max.int8")) as host:
        person = PagePerson(watched[0])
        person.open(host.url)
        for image in sample.test_images[:50]:
            assert_same(person, png(Image.fromarray(image)), Classifier("gn-cnn-max.int8"))


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


def test_another_size_and_a_threshold(watched: tuple[Page, Watched], tmp_path: Path, cat: bytes) -> None:
    metadata = replace(METADATA, size=64, threshold=1e6)
    model = tmp_path / "unsure.onnx"
    model.write_bytes(tiny_model(metadata.to_json(), input_shape=("batch", 64, 64, 3)))
    page, seen = watched
    with serving(write(tmp_path / "site", str(model))) as host:
        person = PagePerson(page)
        person.open(host.url)
        assert_same(person, cat, Classifier(model))
        assert person.shown().pixels.shape == (64, 64, 3)
        expect(page.locator("#unsure")).to_be_visible()
        expect(page.locator("#limits")).to_contain_text("is meant to be unsure where a picture shows something else")
        expect(page.locator("#seen-caption")).to_contain_text("64 \N{MULTIPLICATION SIGN} 64")
        expect(person.announcement).to_contain_text("Not sure: looks most like ")
    assert seen.errors == []
