"""The calls that are recorded, good and bad, and the files that they are made in."""

import io
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.freeze.answers import test_images

ALONE = """
--version
nonsense
pedict cat.png
predict
predict cat.png
predict cat.png ship.png frog.png
predict dog.jpg cat.webp --top 3
predict cat.png --top 0
predict cat.png --top 99 --json
predict cat.png dog.jpg --json
predict cat.png dog.jpg --jsonl
predict cat.png dog.jpg --csv --top 2
predict cat.png --json --csv
predict cat.png --threshold 1 ship.png
predict cat.png --threshold 2
predict photos
predict --recursive photos
predict --recursive photos --json --quiet
predict --recursive photos --csv
predict --recursive photos --strict
predict photos/*.png
predict --from-file list.txt
predict --from-file missing.txt
predict --from-file - < list.txt
predict --from-file null.txt --null
predict - < cat.png
predict - --json < cat.png
predict - < text.txt
predict - - < cat.png
predict missing.png
predict missing.png cat.png --json
predict missing.png cat.png --csv
predict missing.png --strict cat.png
predict broken.png empty.png text.txt cat.png
predict broken.png --verbose
predict --recursive photos --resume answers.jsonl
predict --recursive photos --resume answers.csv
predict --resume text.txt cat.png
predict cat.png --model gn-cnn.fp32
predict cat.png --model s8-group --top 3
predict cat.png --model own.onnx --top 3
predict cat.png --model bad.onnx
predict cat.png --model foreign.onnx
predict cat.png --model missing.onnx
predict cat.png --model gn-cn
CIFAR_EDGE_MODEL=s8-layer predict cat.png
CIFAR_EDGE_MODEL=nonsense predict cat.png
predict cat.png --engine ray
predict cat.png --parquet out
predict cat.png --colour
evaluate gn-cnn --data sample --json
evaluate s8-layer.fp32 --data sample
evaluate gn-cnn --data own
evaluate gn-cnn --data flat
evaluate gn-cnn --data missing
evaluate gn-cnn --offline --json
evaluate nonsense
evaluate bad.onnx
benchmark nonsense
benchmark gn-cnn --threads 0
benchmark foreign.onnx
benchmark gn-cnn gn-cnn.int7
info
info --json
CIFAR_EDGE_MODEL=own.onnx info
data
data --json
data --data sample
data --data sample --json
data --data own
data --data own --json
data --data flat
data --data flat --holdout 0.3
data --data flat --holdout 0.3 --json
data --data flawed
data --data flawed --strict
data --data missing
data --data text.txt
CIFAR_EDGE_DATA=own data
XDG_CACHE_HOME=/proc/nowhere data --offline
data --empty-cache
summary gn-cnn
summary gn-cnn-max
summary gn-cnn-nano
summary gn-cnn-dw
summary s8-layer
summary s8-group
summary s8-batch
summary wrn-16-4
summary gn-cnn --json
summary nonsense
runs
runs --json
train --model nonsense
train --data missing
train --data sample --epochs 0
train --data sample --recipe bad.toml
train --data sample --set learning_rate
train --data sample --set learning_rte=1
train --data sample --set batch_size=100000
train --data sample --set crop=99
train --data sample --set teacher=nonsense
train --data sample --name ../outside
train --resume missing
fold
fold missing
fold gn-cnn
export nonsense
export bad.onnx
export gn-cnn --data missing --out out
export gn-cnn --data sample
export s8-layer --data sample --quantize --out out --json
export gn-cnn --quantize --data sample --out out --max-drop 0 --debug
export gn-cnn --data sample --out text.txt
web
web nonsense --out site
web bad.onnx --out site
web gn-cnn --out text.txt
web gn-cnn --out photos
serve nonsense
serve bad.onnx
serve --host 0.0.0.0
serve --host nowhere.invalid
serve --port 99999
serve --token short
serve --token sixteen-characters --no-auth
serve --cors-origin nonsense
serve --allow-host a/b
serve --workers 0
"""
"""Each in a folder of its own."""

STORIES = {
    "train": """
train --data sample --model gn-cnn-nano --epochs 1 --fold-epochs 1 --name a
train --data sample --model s8-group --epochs 1 --name b --json
train --data sample --model gn-cnn-nano --epochs 1 --name a
runs
runs --json
info
summary runs/b
train --resume runs/a
train --resume a --epochs 9
fold runs/b
fold runs/a --epochs 1 --set fold_contrast=0.5
fold runs/a --set learning_rate=1
export
export runs/a --quantize --data sample --max-drop 100
predict cat.png
evaluate
evaluate runs/a --json
info --json
predict cat.png --model runs/a
""",
    "damaged": """
predict cat.png --model runs/damaged
export runs/damaged
train --resume runs/damaged
train --resume halfway
runs
runs --json
fold runs/halfway
export --data sample
""",
    "own": """
train --data own --model gn-cnn-nano --epochs 1 --fold-epochs 1 --set batch_size=4 --name pets
evaluate runs/pets
export runs/pets --quantize --max-drop 100
evaluate runs/pets
predict cat.png --model runs/pets --top 2
data --empty-cache
train --data flawed --model gn-cnn-nano --epochs 1 --set batch_size=4 --name flawed
train --data flat --holdout 0.3 --model gn-cnn-nano --epochs 1 --set batch_size=4 --name flat --quiet
runs
""",
    "resume": """
predict cat.png ship.png --resume answers.jsonl
predict cat.png ship.png missing.png frog.png --resume answers.jsonl
predict cat.png ship.png --resume answers.csv
predict cat.png ship.png frog.png --resume answers.csv --top 2
predict cat.png frog.png --resume answers.csv
""",
}
"""Each in one folder, one call after the other."""

_CLASSES = {"cat": 3, "dog": 5, "frog": 6, "ship": 8}


def make_files(folder: Path, checkout: Path) -> None:
    """What the calls read: images, folders of images, models, recipes, runs that are none."""
    images, labels = test_images(1000)
    of = {name: images[labels == number] for name, number in _CLASSES.items()}
    for name in ("cat", "ship", "frog"):
        _write(of[name][0], folder / f"{name}.png")
    _write(of["dog"][0], folder / "dog.jpg", (300, 200))
    _write(of["cat"][1], folder / "cat.webp", (90, 90))
    _write(of["ship"][1], folder / "photos/a ship.png")
    _write(of["frog"][1], folder / "photos/frog.jpg", (64, 80))
    _write(of["dog"][1], folder / "photos/deep/dog.bmp")
    (folder / "photos/notes.txt").write_text("no picture\n")
    (folder / "photos/deep/broken.gif").write_bytes(b"GIF89a")
    (folder / "broken.png").write_bytes((folder / "ship.png").read_bytes()[:900])
    (folder / "empty.png").touch()
    (folder / "text.txt").write_text("no picture\n")
    (folder / "list.txt").write_text("cat.png\nphotos/a ship.png\nmissing.png\n")
    (folder / "null.txt").write_text("cat.png\0photos/a ship.png\0")
    for name in ("cat", "dog"):
        for number in range(20):
            part = "train" if number < 12 else "test"
            _write(of[name][number], folder / f"own/{part}/{name}/{number}.png", (40, 48))
            _write(of[name][number], folder / f"flat/{name}/{number}.png")
            _write(of[name][number], folder / f"flawed/{part}/{name}/{number}.png")
    (folder / "flawed/train/cat/text.png").write_text("no picture\n")
    shutil.copy(folder / "flawed/train/dog/1.png", folder / "flawed/train/cat/dog.png")
    model = (checkout / "export/gn-cnn/gn-cnn.int8.onnx").read_bytes()
    (folder / "own.onnx").write_bytes(model)
    (folder / "foreign.onnx").write_bytes(model.replace(b"cifar_edge", b"cifar_egde"))
    (folder / "bad.onnx").write_bytes(model[:5000])
    (folder / "bad.toml").write_text("model = gn-cnn\n")


def make_damaged_runs(folder: Path, checkout: Path) -> None:
    """Runs that are none: an empty folder, a summary that is not JSON, a recipe without a state."""
    (folder / "runs/empty").mkdir(parents=True)
    (folder / "runs/damaged").mkdir()
    (folder / "runs/damaged/summary.json").write_text("{}")
    (folder / "runs/halfway").mkdir()
    for name in ("recipe.toml", "metrics.csv"):
        shutil.copy(checkout / "models/gn-cnn" / name, folder / "runs/halfway" / name)


def _write(image: npt.NDArray[np.uint8], path: Path, size: tuple[int, int] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(image)
    file = io.BytesIO()
    (picture.resize(size) if size else picture).save(file, {".jpg": "JPEG"}.get(path.suffix, path.suffix[1:].upper()))
    path.write_bytes(file.getvalue())
