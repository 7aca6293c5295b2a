"""The runtimes: an ``.onnx`` file and pixels in, logits out."""

import ctypes
import importlib
import re
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Logits = npt.NDArray[np.float32]

_COMPILER = ("cc", "-O2", "-shared", "-fPIC", "-lm")


class Refused(Exception):
    """There are no logits; the message says why, briefly."""


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn whatever a runtime raises into `Refused`: their exceptions have no common base class."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        operator = next((match for line in lines if (match := re.search(r"Node \[(\w+)", line))), None)
        raise Refused(f"refused: {operator[1]}" if operator else f"refused: {lines[0][:80]}") from error


def opencv(file: Path, images: Pixels) -> Logits:
    """OpenCV's DNN module."""
    cv2: Any = importlib.import_module("cv2")
    with _refusing():
        network, logits = cv2.dnn.readNetFromONNX(str(file)), []
        for image in images:
            network.setInput(image[None])
            logits.append(network.forward().reshape(-1).copy())
        return np.array(logits)


def openvino(file: Path, images: Pixels) -> Logits:
    """OpenVINO, on the CPU."""
    module: Any = importlib.import_module("openvino")
    with _refusing():
        return np.asarray(module.Core().compile_model(str(file), "CPU")(images)[0])


def tract(file: Path, images: Pixels) -> Logits:
    """Sonos' tract, in Rust."""
    module: Any = importlib.import_module("tract")
    with _refusing():
        model = module.onnx().load(str(file))
        model.set_input_fact(0, ",".join(map(str, (1, *images.shape[1:]))) + ",u8")
        runnable = model.into_model().into_runnable()
        return np.array([runnable.run([image[None]])[0].to_numpy()[0] for image in images])


def emx_onnx_cgen(file: Path, images: Pixels) -> Logits:
    """C code by emx-onnx-cgen, compiled."""
    with tempfile.TemporaryDirectory() as folder, _refusing():
        source, library = Path(folder, "model.c"), Path(folder, "model.so")
        _call([_script("emx-onnx-cgen"), "compile", str(file), str(source)])
        compiler, *options = _COMPILER
        _call([compiler, str(source), "-o", str(library), *options])
        name = re.findall(r"^void (\w+)\(int batch, const uint8_t image", source.read_text(), re.MULTILINE)
        model = getattr(ctypes.CDLL(str(library)), name[-1])
        given, logits = np.ascontiguousarray(images), np.empty((len(images), 10), np.float32)
        model(len(images), given.ctypes.data_as(ctypes.c_void_p), logits.ctypes.data_as(ctypes.c_void_p))
        return logits


def pnnx(file: Path, images: Pixels) -> Logits:
    """The converter to ncnn; it never gives logits, as long as it leaves layers that ncnn does not have."""
    with tempfile.TemporaryDirectory() as folder, _refusing():
        copy = Path(folder, "model.onnx")
        copy.write_bytes(file.read_bytes())
        _call([_script("pnnx"), str(copy), f"inputshape=[1,{','.join(map(str, images.shape[1:]))}]u8"], folder)
        left = copy.with_suffix(".ncnn.param").read_text().count("pnnx.Expression")
        raise Refused(f"converted, but {left} layers are left that ncnn does not have" if left else "converted")


def _script(name: str) -> str:
    return str(Path(sysconfig.get_path("scripts"), name))


def _call(command: list[str], folder: str | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(next((line.partition("error: ")[2] for line in lines if "error: " in line), lines[-1]))


RUNTIMES: Mapping[str, Callable[[Path, Pixels], Logits]] = {
    "opencv-python-headless": opencv,
    "openvino": openvino,
    "tract": tract,
    "emx-onnx-cgen": emx_onnx_cgen,
    "pnnx": pnnx,
}
"""Package -> its runtime."""
