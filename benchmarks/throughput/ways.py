"""The ways of classifying or decoding images that are timed; worker processes import them from here."""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from cifar_edge import Classifier
from cifar_edge.files import released
from cifar_edge.runtime.images import read_pixels

MODEL = released("export/gn-cnn/gn-cnn.int8.onnx")
CHUNK = 16
"""Images that a thread or process is handed at a time: one at a time would measure the handing over."""


def decode(paths: Sequence[Path]) -> int:
    """Read, and nothing else."""
    return len([read_pixels(path) for path in paths])


def decode_on(executor: Executor, paths: Sequence[Path]) -> int:
    """The same on several threads or processes."""
    return sum(executor.map(decode, [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]))


def plain_loop(session: onnxruntime.InferenceSession, paths: Sequence[Path]) -> int:
    """What people write by hand."""
    answers = []
    for path in paths:
        image = Image.open(path).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BOX)
        answers.append(session.run(None, {"image": np.asarray(image)[None]})[0].argmax())
    return len(answers)


def predict_iter(classifier: Classifier, paths: Sequence[Path]) -> int:
    """This package, in Python."""
    return sum(1 for _ in classifier.predict_iter(paths))


def command(paths: Sequence[Path], *options: str) -> int:
    """This package, on the command line."""
    program = [sys.executable, "-c", "from cifar_edge.cli.main import main; main()", "predict", "--jsonl"]
    names = "".join(f"{path}\n" for path in paths)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)}
    done = subprocess.run(
        [*program, "--model", str(MODEL), "--from-file", "-", *options],
        input=names.encode(),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return done.stdout.count(b"\n")
