"""Writes the static folder of the web page: the built page with one model, its metadata and a service worker."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cifar_edge.errors import PageError
from cifar_edge.files import remove_leftovers, write_bytes
from cifar_edge.messages import display_name
from cifar_edge.model_file.reading import is_tflite, read_model
from cifar_edge.runtime.model import load

MODEL = "model.onnx"
CARD = "model.json"
WORKER = "sw.js"
INDEX = "index.html"


@dataclass(frozen=True, slots=True)
class Site:
    """A written page.

    Attributes:
        folder: the folder.
        version: hash of all files, the name of the browser's cache.
        files: file name -> size in bytes.
    """

    folder: Path
    version: str
    files: Mapping[str, int]


def write_site(page: Path, model: Path, out: Path) -> Site:
    """Write the page with ``model`` into the folder ``out``, which is new or has an earlier page.

    Args:
        page: the built page (see `cifar_edge.web.build.built_page`).
        model: an ``.onnx`` file that keeps the edge contract.
        out: files are replaced atomically; the service worker, by which browsers notice a change, is the last.

    Raises:
        ModelError: ``model`` cannot be loaded (`ContractError`: it violates the contract).
        PageError: ``out`` contains something else.
        CifarEdgeError: ``out`` cannot be written.
    """
    _check_is_ours(out)
    version, files = site_files(page, model)
    for name, content in files.items():
        write_bytes(out / name, content)
    return Site(out, version, {name: len(content) for name, content in files.items()})


def site_files(page: Path, model: Path, keep_model: bool = True) -> tuple[str, dict[str, bytes]]:
    """The version of the page with ``model``, and its files: name -> content, the service worker last.

    Args:
        page: as for `write_site`.
        model: as for `write_site`.
        keep_model: whether the service worker keeps the model for offline use. It must not if the model needs a token:
            the worker has none, and the browser would show the model later to people without one.

    Raises:
        ModelError: as `write_site`.
        PageError: ``page`` is not a built page, or ``model`` is a ``.tflite`` file.
        OSError: ``page`` cannot be read.
    """
    network = read_model(model)
    if is_tflite(network):
        raise PageError(f"the page runs .onnx files, and {display_name(str(model))} is a .tflite file")
    metadata = load(network, name=display_name(str(model))).metadata.to_record()
    # The card first: by it the folder is known as a page, even if this process is killed before the other files.
    files = {CARD: json.dumps({**metadata, "bytes": len(network)}, indent=2).encode(), MODEL: network}
    files |= {path.name: path.read_bytes() for path in sorted(page.iterdir())}
    if WORKER not in files:
        raise PageError(f"{page} lacks {WORKER}; it is not a built page, or is damaged")
    worker = files.pop(WORKER)
    unkept = {INDEX} if keep_model else {INDEX, MODEL, CARD}
    # The start page is kept under the URL of the folder, which is what a browser requests.
    kept = ["./", *sorted(files.keys() - unkept)]
    version = _version({**files, WORKER: worker})
    line = f"self.PRECACHE = {json.dumps({'version': version, 'files': kept})};\n"
    files[WORKER] = line.encode() + worker
    return version, files


def _check_is_ours(out: Path) -> None:
    """Raise unless ``out`` is new, empty or has an earlier page."""
    remove_leftovers(out)
    if out.is_dir() and any(out.iterdir()) and not (out / CARD).is_file():
        raise PageError(f"{out} is not empty and is not a page of cifar-edge; give another folder")
    if out.exists() and not out.is_dir():
        raise PageError(f"{out} is a file; give a folder")


def _version(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]
