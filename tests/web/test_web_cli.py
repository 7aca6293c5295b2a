"""`cifar-edge web`: what it writes and refuses; its TypeScript checked, and its pixels compared in node.

What needs a browser is in test_web.py and test_web_parity.py.
"""

import json
import resource
import shutil
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import CHECKOUT
from PIL import Image
from tiny import TINY
from web_helpers import install_sources, photos, run

from cifar_edge import Classifier
from cifar_edge.cli.main import main
from cifar_edge.data import Dataset
from cifar_edge.files import released
from cifar_edge.messages import shell_word
from cifar_edge.runtime.transform import to_pixels
from cifar_edge.web import build

INT8 = released("export/gn-cnn/gn-cnn.int8.onnx")
LIMIT = 20_000_000
"""Bytes up to which the built page may travel in the wheel."""


def web(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["web", *map(str, arguments)])


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``web/`` with its packages, in a folder of its own."""
    return install_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for a built page, so that nothing has to be built: two of its files."""
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<!doctype html>")
    (page / "sw.js").write_text("// the worker")
    monkeypatch.setattr(build, "built_page", lambda report: page)
    return page


def test_the_folder_holds_the_page_and_the_model(page: Path, tmp_path: Path) -> None:
    result = web("gn-cnn", "--out", tmp_path / "site")
    assert (result.exit_code, result.stderr) == (0, "model: released gn-cnn.int8\n")
    site = tmp_path / "site"
    assert sorted(path.name for path in site.iterdir()) == ["index.html", "model.json", "model.onnx", "sw.js"]
    assert (site / "model.onnx").read_bytes() == INT8.read_bytes()
    (card,) = json.loads((site / "model.json").read_text())
    metadata = Classifier("gn-cnn").metadata.to_record()
    about = {"file": "model.onnx", "bytes": INT8.stat().st_size}
    assert card == {**metadata, "labels": list(metadata["labels"]), **about}
    assert max(map(len, result.stdout.splitlines())) < 80 + len(str(tmp_path))


def test_a_page_of_several_models(page: Path, tmp_path: Path) -> None:
    """Each with its own card and file; the first one is the one that answers at first."""
    result = web("gn-cnn-nano", "gn-cnn.fp32", "--out", tmp_path / "site")
    assert result.stderr.splitlines() == [f"model: released {name}" for name in ("gn-cnn-nano.int8", "gn-cnn.fp32")]
    site = tmp_path / "site"
    cards = json.loads((site / "model.json").read_text())
    assert [(card["model"], card["precision"], card["file"]) for card in cards] == [
        ("gn-cnn-nano", "int8", "model.onnx"),
        ("gn-cnn", "fp32", "model-2.onnx"),
    ]
    assert [card["bytes"] for card in cards] == [(site / card["file"]).stat().st_size for card in cards]
    assert precache(site)["files"] == ["./", "model-2.onnx", "model.json", "model.onnx"]


def test_without_a_model_the_released_ones_are_there(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert web("--out", "site").exit_code == 0
    models = [card["model"] for card in json.loads(Path("site/model.json").read_text())]
    assert models == ["gn-cnn", "gn-cnn-max", "gn-cnn-nano"]
    monkeypatch.setenv("CIFAR_EDGE_MODEL", str(TINY))  # a model of one's own comes alone
    assert web("--out", "own").exit_code == 0
    assert len(json.loads(Path("own/model.json").read_text())) == 1


@pytest.mark.parametrize(
    ("name", "shown"), [("my page", "my page"), ("w\udcff", r"'w\udcff'"), ("si\nte", r"'si\nte'")]
)
def test_any_folder_is_shown_and_quoted(page: Path, name: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(page.parent)
    first, _, last = web("gn-cnn", "--out", name).stdout.splitlines()
    assert first.startswith(f"page      {shown}: 4 files, ")
    assert last == f"try it    python -m http.server --directory {shell_word(name)} --bind 127.0.0.1"


def test_json_tells_every_file(page: Path, tmp_path: Path) -> None:
    record = json.loads(web("gn-cnn", "--json", "--out", tmp_path / "site").stdout)
    files = {path.name: path.stat().st_size for path in (tmp_path / "site").iterdir()}
    assert record == {
        "folder": str(tmp_path / "site"),
        "model": str(INT8),
        "models": [str(INT8)],
        "version": record["version"],
        "files": record["files"],
    }
    assert record["files"] == files


def precache(site: Path) -> dict[str, object]:
    """What the first line of the service worker sets."""
    line = (site / "sw.js").read_text().splitlines()[0]
    assert line.startswith("self.PRECACHE = ")
    record: dict[str, object] = json.loads(line.removeprefix("self.PRECACHE = ").removesuffix(";"))
    return record


def test_the_version_is_a_hash_of_every_file(page: Path, tmp_path: Path) -> None:
    first, same, other = (tmp_path / name for name in ("first", "same", "other"))
    web("gn-cnn", "--out", first)
    web("gn-cnn", "--out", same)
    web(TINY, "--out", other)
    assert precache(first) == precache(same)
    assert precache(first)["files"] == ["./", "model.json", "model.onnx"]
    assert precache(first)["version"] != precache(other)["version"]
    for file in page.iterdir():
        before = file.read_text()
        file.write_text(before + " ")
        web("gn-cnn", "--out", same)
        assert precache(same)["version"] != precache(first)["version"], file.name
        file.write_text(before)


def test_an_earlier_page_is_replaced(page: Path, tmp_path: Path) -> None:
    """With its models: what was published before and is not named now is gone."""
    site = tmp_path / "site"
    assert web("gn-cnn", "gn-cnn-nano", "--out", site).exit_code == 0
    (site / "robots.txt").write_text("User-agent: *")
    assert web(TINY, "--out", site).exit_code == 0
    assert (site / "model.onnx").read_bytes() == TINY.read_bytes()
    assert sorted(path.name for path in site.iterdir()) == [
        "index.html",
        "model.json",
        "model.onnx",
        "robots.txt",
        "sw.js",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [("thesis.txt", "my thesis"), ("model.json", '{"format": "graph-model", "modelTopology": {}}'), ("model.json", "")],
)
def test_nothing_else_is_replaced(page: Path, tmp_path: Path, name: str, content: str) -> None:
    """A model of TensorFlow.js is in a file of the same name as our cards."""
    other, file = tmp_path / "other", tmp_path / "file"
    other.mkdir()
    (other / name).write_text(content)
    result = web("--out", other)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {other} is not empty and is not a page of cifar-edge; give another folder\n"
    assert {path.name: path.read_text() for path in other.iterdir()} == {name: content}
    file.touch()
    assert web("--out", file).stderr.endswith(f"Error: Invalid value for '--out': {file} is a file; give a folder.\n")
    assert web("--out", file / "site").stderr.endswith(f"{file} is not a folder\n")


def test_a_model_that_breaks_the_contract_is_refused(page: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    result = web(tmp_path / "bad.onnx", "--out", tmp_path / "site")
    assert result.exit_code == 1
    assert "bad.onnx is damaged or not an ONNX model" in result.stderr
    assert not (tmp_path / "site").exists()


def test_a_disk_that_is_full_leaves_no_page_or_the_earlier_one(page: Path, tmp_path: Path) -> None:
    site = tmp_path / "new" / "site"
    full = run_on_a_full_disk("gn-cnn", "--out", site)
    assert full.exit_code == 1
    assert full.stderr.splitlines()[-1] == f"Error: cannot write {site}/model.onnx: File too large"
    assert not (tmp_path / "new").exists()

    assert web("gn-cnn-nano", "--out", site).exit_code == 0
    before = {path.name: path.read_bytes() for path in site.iterdir()}
    (page / "index.html").write_text("<!doctype html> of a later version")
    assert run_on_a_full_disk("gn-cnn", "--out", site).exit_code == 1
    assert {path.name: path.read_bytes() for path in site.iterdir()} == before


def run_on_a_full_disk(*arguments: str | Path) -> Result:
    """`cifar-edge web`, which can write 10 kB to a file and no more."""
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        return web(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_without_npm_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    result = web("gn-cnn", "--out", tmp_path / "site")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Error: the page is built with npm, which is missing; install Node.js 20 or newer" in result.stderr


def test_an_npm_that_fails_is_quoted_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\necho 'npm error network' >&2\nexit 1\n")
    npm.chmod(0o755)
    result = web("gn-cnn", "--out", tmp_path / "site")
    assert result.exit_code == 1
    assert (
        result.stderr.splitlines()[-1]
        == "Error: `npm ci --omit=dev` failed: npm error code ENOTFOUND npm error network"
    )
    assert [path.name for path in (tmp_path / "cache" / "cifar-edge").rglob("*")] == ["web", "lock"]


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((CHECKOUT / "web" / "package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
    pinned = json.loads((CHECKOUT / "web" / "package.json").read_text())
    versions = {**pinned["dependencies"], **pinned["devDependencies"]}
    assert all(version[0].isdigit() for version in versions.values())


@pytest.mark.network
def test_the_page_is_built_once_and_is_small_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = web("gn-cnn", "--out", tmp_path / "first")
    assert first.exit_code == 0, first.output
    assert "building the page with npm, once" in first.stderr
    second = web("gn-cnn", "--out", tmp_path / "second")
    assert "building" not in second.stderr
    files = {path.name: path.read_bytes() for path in (tmp_path / "first").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "second").iterdir()}
    assert [name for name in files if name.endswith(".wasm")] == ["ort-wasm-simd-threaded.wasm"]
    assert sum(map(len, files.values())) < LIMIT
    assert b"<script>" not in files["index.html"]
    assert b"style=" not in files["index.html"]
    (built,) = (tmp_path / "cache" / "cifar-edge").glob("web-*")
    megabytes = sum(file.stat().st_size for file in built.iterdir()) / 1e6
    documented = (CHECKOUT / "docs" / "web.md").read_text()
    assert f"The built page is {megabytes:.1f} MB without a model" in documented
    of_released_models, *_ = web("--out", tmp_path / "site").stdout.splitlines()
    assert f"\n{of_released_models.replace(f'{tmp_path}/', '')}\n" in documented


@pytest.mark.network
def test_typescript_finds_nothing_to_complain_about(sources: Path) -> None:
    run(["npm", "run", "check"], sources)


COMPARE = """
import { readFileSync, writeFileSync } from "node:fs";
import { toPixels } from "./transform.mjs";

const pictures = JSON.parse(readFileSync("pictures.json"));
const bytes = readFileSync("pictures.bin");
let at = 0;
const sizes = JSON.parse(readFileSync("sizes.json"));
const answers = pictures.map(([width, height]) => {
  const rgba = bytes.subarray(at, (at += width * height * 4));
  const read = (left, top, columns, rows) => {
    const part = new Uint8ClampedArray(columns * rows * 4);
    for (let row = 0; row < rows; row++) {
      const start = ((top + row) * width + left) * 4;
      part.set(rgba.subarray(start, start + columns * 4), row * columns * 4);
    }
    return part;
  };
  return Buffer.concat(sizes.map((size) => Buffer.from(toPixels({ width, height, read }, size))));
});
writeFileSync("answers.bin", Buffer.concat(answers));
"""
"""Runs the page's own transform, without a browser, on the pixels in a file."""


SIZES = (32, 48, 64, 96, 128)


def assert_same_pixels(images: list[Image.Image], sources: Path, folder: Path) -> None:
    images = [image.convert("RGBA") for image in images]
    (folder / "compare.mjs").write_text(COMPARE)
    (folder / "sizes.json").write_text(json.dumps(SIZES))
    (folder / "pictures.json").write_text(json.dumps([image.size for image in images]))
    (folder / "pictures.bin").write_bytes(b"".join(image.tobytes() for image in images))
    bundle = ["--bundle", "--format=esm", f"--outfile={folder / 'transform.mjs'}"]
    run(["npx", "--no-install", "esbuild", "src/transform.ts", *bundle, "--log-level=error"], sources)
    run(["node", "compare.mjs"], folder)
    answers = (folder / "answers.bin").read_bytes()
    expected = [(image.size, size, to_pixels(image, size).tobytes()) for image in images for size in SIZES]
    ends = list(accumulate(len(pixels) for *_, pixels in expected))
    assert len(answers) == ends[-1]
    different = [
        (image_size, size)
        for (image_size, size, pixels), end in zip(expected, ends, strict=True)
        if answers[end - len(pixels) : end] != pixels
    ]
    assert different == []


@pytest.mark.network
def test_javascript_makes_the_same_pixels_of_photos(sources: Path, sample: Dataset, tmp_path: Path) -> None:
    assert_same_pixels([*map(Image.fromarray, sample.test_images[:200]), *photos(200)], sources, tmp_path)


@pytest.mark.network
def test_javascript_makes_the_same_pixels_of_every_size(sources: Path, tmp_path: Path) -> None:
    """Of noise with noise for alpha, which forgives nothing; the last is read in several strips."""
    random = np.random.default_rng(0)
    sizes = [*((side, side) for side in range(1, 140)), (32, 33), (7, 500), (641, 480), (2500, 2501)]
    noise = [random.integers(0, 256, (height, width, 4), dtype=np.uint8) for width, height in sizes]
    assert_same_pixels(list(map(Image.fromarray, noise)), sources, tmp_path)


FIGURES = """
import { Pace } from "./src/pace.mjs";
import { ranked } from "./src/scores.mjs";

const card = { labels: ["cat", "dog"], temperature: 1 };
const rates = [[], [5], [5, 5], [5, 5, 105]].map((ends) => {
  const pace = new Pace();
  ends.forEach((end) => pace.add(end, 1));
  return pace.rate ?? null;
});
const answers = [[1, 1], [NaN, 1], [Infinity, 1], [-Infinity, 1]].map((logits) => {
  try {
    return ranked(Float32Array.from(logits), card)[0].score;
  } catch (error) {
    return error.message;
  }
});
console.log(JSON.stringify({ rates, answers }));
"""


@pytest.mark.network
def test_the_page_shows_no_figure_that_cannot_be_computed(sources: Path, tmp_path: Path) -> None:
    """Two frames in one tick of the clock have no rate, and logits that are not finite no scores."""
    bundle = ["--bundle", "--format=esm", f"--outdir={tmp_path / 'src'}", "--out-extension:.js=.mjs"]
    run(["npx", "--no-install", "esbuild", "src/scores.ts", "src/pace.ts", *bundle, "--log-level=error"], sources)
    (tmp_path / "figures.mjs").write_text(FIGURES)
    shown = json.loads(run(["node", "figures.mjs"], tmp_path))
    refused = "the network's output is not finite"
    assert shown == {"rates": [None, None, None, 20.0], "answers": [0.5, refused, refused, refused]}


def test_the_fingerprint_covers_what_the_build_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file that may change the page changes the folder that a built page is looked for in."""
    copy = tmp_path / "web"
    shutil.copytree(CHECKOUT / "web", copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(build, "_SOURCES_IN_CHECKOUT", copy)
    monkeypatch.setattr(build, "_build", lambda npm, sources, built, report: built.mkdir(parents=True))
    monkeypatch.setattr(build, "find_npm", lambda: "npm")
    unread = {"tsconfig.json", "tsconfig.worker.json"}
    places = {build.built_page(lambda line: None)}
    changed = [path for path in copy.rglob("*") if path.is_file() and path.name not in unread]
    for path in changed:
        path.write_bytes(path.read_bytes() + b"\n")
        places.add(build.built_page(lambda line: None))
    assert len(places) == len(changed) + 1
