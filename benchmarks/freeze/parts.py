"""The parts of a recording: each writes readable files into a folder."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.freeze.answers import Answer, answers, logits, pixel_model, test_images
from benchmarks.freeze.calls import ALONE, STORIES, make_damaged_runs, make_files
from benchmarks.freeze.corpus import corpus
from benchmarks.freeze.graphs import digest, onnx_text, weights_text
from benchmarks.freeze.masks import masked, masked_report
from benchmarks.freeze.product import Product

TEST_IMAGES = 1000
_PLAIN = """\
model = "gn-cnn-nano"
epochs = 2
fold_epochs = 1
seed = 0
batch_size = 32
precision = "fp32"
"""
RECIPES = {
    "plain": _PLAIN,
    "everything": _PLAIN
    + """\
holdout = 100
copies = 2
cutout = 8
brightness = 0.4
contrast = [0.6, 1.4]
fold_brightness = 0.2
fold_contrast = 0.5
mixup = 0.2
label_smoothing = 0.1
muon_learning_rate = 0.005
fold_muon_learning_rate = 0.005
teacher = "gn-cnn"
temperature = 2.0
""",
    "reference": """\
model = "s8-layer"
epochs = 1
seed = 0
batch_size = 32
precision = "fp32"
""",
}
"""Keys as in version 0.1.0; later versions read them too."""


def help_texts(product: Product, out: Path) -> None:
    """``--help`` of every command, found by the list in the help of its group."""
    folder = product.folder("work")

    def walk(command: str) -> None:
        text = product.need(f"{command} --help".strip(), folder)
        (out / f"{command.replace(' ', '-') or 'cifar-edge'}.txt").write_text(text)
        _, _, listed = text.partition("\nCommands:\n")
        for name in re.findall(r"^  (\S+)", listed, re.MULTILINE):
            walk(f"{command} {name}".strip())

    walk("")


def calls(product: Product, out: Path) -> None:
    """Exit code, stdout, stderr and changed files of single calls, each in a new folder."""
    for line in ALONE.strip().splitlines():
        _write_call(product, line, _furnished(product), out)


def stories(product: Product, out: Path) -> None:
    """The same of calls one after the other in one folder."""
    for story, lines in STORIES.items():
        folder = _furnished(product)
        if story == "damaged":
            make_damaged_runs(folder, product.checkout)
        for number, line in enumerate(lines.strip().splitlines(), 1):
            _write_call(product, line, folder, out / story, f"{number:02} ")


def exports(product: Product, out: Path) -> None:
    """Every released network exported anew: both files, what they answer, and the report."""
    images, _ = test_images(TEST_IMAGES)
    for released in sorted(path.name for path in (product.checkout / "export").iterdir() if path.is_dir()):
        folder = product.folder("work")
        answer = product.need(f"export {released} --quantize --out out", folder)
        (out / f"{released}.txt").write_text(_untimed(answer))
        (out / f"{released}.report.json").write_text(masked_report(folder / "out/report.json", product.area))
        for path in sorted((folder / "out").glob("*.onnx")):
            (out / f"{path.stem}.txt").write_text(masked(onnx_text(path), product.area))
            np.save(out / f"{path.stem}.npy", logits(product, path, images))


def released_logits(product: Product, out: Path) -> None:
    """Logits of every released file."""
    images, labels = test_images(TEST_IMAGES)
    for path in sorted((product.checkout / "export").glob("*/*.onnx")):
        values = logits(product, path, images)
        right = int((values.argmax(axis=1) == labels).sum())
        text = f"file {digest(path.read_bytes())}\nlogits {digest(values.tobytes())}\nright {right} of {len(labels)}\n"
        (out / f"{path.stem}.txt").write_text(text)
        np.save(out / f"{path.stem}.npy", values)


def pixels(product: Product, out: Path) -> None:
    """What a model is given of odd images, by a model whose logits are its pixels; or the error."""
    model = product.area / "pixels.onnx"
    model.write_bytes(pixel_model(product.checkout / "export/gn-cnn/gn-cnn.fp32.onnx"))
    images, _ = test_images(12)
    given = corpus(images)
    found = answers(product, model, given)
    said, errors = [], []
    for (name, _), answer in zip(given, found, strict=True):
        if isinstance(answer, str):
            errors.append(f"{name}: {answer}\n")
        said.append(f"{name}: {_digest_of_pixels(answer)}\n")
    (out / "pixels.txt").write_text("".join(said))
    (out / "errors.txt").write_text(masked("".join(errors), product.area))
    read = [answer for answer in found if not isinstance(answer, str)]
    np.save(out / "pixels.npy", np.array(read, np.uint8))


def openapi(product: Product, out: Path) -> None:
    """What the service says: its OpenAPI document, and answers to some requests, with their headers."""
    folder = _furnished(product)
    picture, text = (folder / "cat.png").read_bytes(), (folder / "text.txt").read_bytes()
    requests: Mapping[str, tuple[str, bytes | None, Mapping[str, str]]] = {
        "openapi": ("/openapi.json", None, {}),
        "model": ("/v1/model", None, {}),
        "health": ("/healthz", None, {}),
        "page": ("/", None, {}),
        "nowhere": ("/nowhere", None, {}),
        "predict": ("/v1/predict", picture, {"Content-Type": "image/png"}),
        "top": ("/v1/predict?top=3", picture, {"Content-Type": "image/png"}),
        "no-image": ("/v1/predict", text, {"Content-Type": "image/png"}),
        "wrong-top": ("/v1/predict?top=x", picture, {"Content-Type": "image/png"}),
        "wrong-type": ("/v1/predict", picture, {"Content-Type": "text/plain"}),
        "wrong-method": ("/v1/predict", None, {}),
        "wrong-host": ("/v1/model", None, {"Host": "elsewhere.example"}),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "cifar_edge", "serve", "gn-cnn", "--port", "0"],
        cwd=folder,
        env=product.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            said = []
            for line in server.stdout:
                said.append(line)
                if found := re.search(r"http://[\d.:]+", line):
                    break
            else:
                raise RuntimeError("".join(said))
            for name, (path, body, headers) in requests.items():
                answer = _http(urllib.request.Request(found[0] + path, body, dict(headers)))
                (out / f"{name}.txt").write_text(masked(answer, product.area))
        finally:
            server.terminate()
            rest, _ = server.communicate()
        (out / "log.txt").write_text(masked(f"{''.join(said)}{rest}exit code {server.returncode}\n", product.area))


def training(product: Product, out: Path) -> None:
    """Weights and metrics of short trainings with a folding, and their exports."""
    for name, recipe in RECIPES.items():
        folder = product.folder("work")
        (folder / "recipe.toml").write_text(recipe)
        answer = product.need(f"train --data sample --recipe recipe.toml --name {name}", folder)
        answer += product.need(f"export runs/{name} --quantize --max-drop 100 --out out", folder)
        (out / f"{name}.txt").write_text(_untimed(answer))
        run = folder / "runs" / name
        for weights in sorted(run.glob("*.safetensors")):
            (out / f"{name}.{weights.stem}.txt").write_text(masked(weights_text(weights), product.area))
        (out / f"{name}.recipe.toml.txt").write_text((run / "recipe.toml").read_text())
        (out / f"{name}.summary.json").write_text(masked((run / "summary.json").read_text(), product.area))
        rows = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
        kept = [index for index, column in enumerate(rows[0]) if column != "seconds"]
        (out / f"{name}.metrics.csv").write_text("".join(",".join(row[i] for i in kept) + "\n" for row in rows))
        for path in sorted((folder / "out").glob("*.onnx")):
            (out / f"{name}.{path.stem}.txt").write_text(masked(onnx_text(path), product.area))


PARTS: Mapping[str, Callable[[Product, Path], None]] = {
    "help": help_texts,
    "calls": calls,
    "stories": stories,
    "exports": exports,
    "logits": released_logits,
    "pixels": pixels,
    "openapi": openapi,
    "training": training,
}


def _furnished(product: Product) -> Path:
    folder = product.folder("work")
    make_files(folder, product.checkout)
    return folder


def _write_call(product: Product, line: str, folder: Path, out: Path, prefix: str = "") -> None:
    out.mkdir(exist_ok=True)
    name = prefix + re.sub(r"[^\w.=-]+", " ", line).strip()
    (out / f"{name}.txt").write_text(_untimed(product.command(line, folder)))


def _untimed(answer: str) -> str:
    """Without the choice of a file to deploy, which depends on latencies."""
    answer = re.sub(r"^deploy .*(\n  .*)*", "deploy <masked>", answer, flags=re.MULTILINE)
    return re.sub(r'"(deploy|reason)": ".*"', r'"\1": "<masked>"', answer)


def _digest_of_pixels(answer: Answer) -> str:
    return "an error" if isinstance(answer, str) else digest(np.array(answer, np.uint8).tobytes())


_UNKEPT = {"date", "content-length"}


def _http(request: urllib.request.Request) -> str:
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            status, headers, body = response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        status, headers, body = error.code, error.headers, error.read()
    kept = sorted(f"{name.lower()}: {value}" for name, value in headers.items() if name.lower() not in _UNKEPT)
    try:
        text = json.dumps(json.loads(body), indent=1)
    except ValueError:
        text = body.decode(errors="backslashreplace")
    return f"{request.get_method()} {request.selector}\n{status}\n" + "\n".join(kept) + f"\n\n{text}\n"
