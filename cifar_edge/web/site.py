"""Writes the static folder of the web page: the built page with models, their metadata and a service worker."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cifar_edge.errors import PageError
from cifar_edge.files import check_writable, read_bounded, remove_leftovers, replacing
from cifar_edge.messages import display_name
from cifar_edge.model_file.reading import is_tflite, read_model
from cifar_edge.runtime.model import load

CARDS = "model.json"
"""A JSON array: the metadata of each model, with the name and the size of its file."""
WORKER = "sw.js"
INDEX = "index.html"
_SUFFIX = ".onnx"
_NETWORK = re.compile(r"model(-[0-9]+)?\.onnx")
_MOST_BYTES_OF_CARDS = 16 << 20


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


def write_site(page: Path, models: Sequence[Path], out: Path) -> Site:
    """Write the page with ``models`` into the folder ``out``, which is new or has an earlier page.

    Args:
        page: the built page (see `cifar_edge.web.build.built_page`).
        models: ``.onnx`` files that keep the edge contract. The first one answers until the visitor chooses another.
        out: files are replaced when all of them are on the disk; the service worker, by which browsers notice a
            change, is the last. Models of the earlier page are removed then, so that none is published that was not
            named.

    Raises:
        ModelError: a model cannot be loaded (`ContractError`: it violates the contract).
        PageError: ``out`` contains something else.
        CifarEdgeError: ``out`` cannot be written.
    """
    check_is_ours(out)
    version, files = site_files(page, models)
    with ExitStack() as staged:
        for name, content in reversed(files.items()):  # what is entered last is renamed first
            staged.enter_context(replacing(out / name, durable=True)).write_bytes(content)
    for path in out.iterdir():
        if _NETWORK.fullmatch(path.name) and path.name not in files:
            path.unlink()
    return Site(out, version, {name: len(content) for name, content in files.items()})


def site_files(page: Path, models: Sequence[Path], keep_models: bool = True) -> tuple[str, dict[str, bytes]]:
    """The version of the page with ``models``, and its files: name -> content, the service worker last.

    Args:
        page: as for `write_site`.
        models: as for `write_site`.
        keep_models: whether the service worker keeps the models for offline use. It must not if they need a token: the
            worker has none, and the browser would show the models later to people without one.

    Raises:
        ModelError: as `write_site`.
        PageError: ``page`` is not a built page, or a model is a ``.tflite`` file.
        OSError: ``page`` cannot be read.
    """
    networks = {_file_name(index): _network(model) for index, model in enumerate(models)}
    cards = [_card(file, networks[file], model) for file, model in zip(networks, models, strict=True)]
    # The cards first: by them the folder is known as a page, even if this process is killed before the other files.
    files = {CARDS: json.dumps(cards, indent=2).encode(), **networks}
    files |= {path.name: path.read_bytes() for path in sorted(page.iterdir())}
    if WORKER not in files:
        raise PageError(f"{display_name(page)} lacks {WORKER}; it is not a built page, or is damaged")
    worker = files.pop(WORKER)
    unkept = {INDEX} if keep_models else {INDEX, CARDS, *networks}
    # The start page is kept under the URL of the folder, which is what a browser requests.
    kept = ["./", *sorted(files.keys() - unkept)]
    version = _version({**files, WORKER: worker})
    line = f"self.PRECACHE = {json.dumps({'version': version, 'files': kept})};\n"
    files[WORKER] = line.encode() + worker
    return version, files


def _file_name(index: int) -> str:
    return f"model-{index + 1}{_SUFFIX}" if index else f"model{_SUFFIX}"


def _network(model: Path) -> bytes:
    network = read_model(model)
    if is_tflite(network):
        raise PageError(f"the page runs .onnx files, and {display_name(model)} is a .tflite file")
    return network


def _card(file: str, network: bytes, model: Path) -> dict[str, object]:
    metadata = load(network, name=display_name(model)).metadata.to_record()
    return {**metadata, "file": file, "bytes": len(network)}


def check_is_ours(out: Path) -> None:
    """Refuse, before any work is done, a folder that is neither new or empty nor has an earlier page.

    Raises:
        PageError: it is so.
        CifarEdgeError: nothing can be written there.
    """
    remove_leftovers(out)
    if out.is_dir() and any(out.iterdir()) and not _is_page(out):
        raise PageError(f"{display_name(out)} is not empty and is not a page of cifar-edge; give another folder")
    if out.exists() and not out.is_dir():
        raise PageError(f"{display_name(out)} is a file; give a folder")
    check_writable(out / INDEX)


def _is_page(folder: Path) -> bool:
    """Whether ``folder`` has cards of models; other programs have files of that name, too (TensorFlow.js)."""
    try:
        return b'"weights_sha256"' in read_bounded(folder / CARDS, _MOST_BYTES_OF_CARDS)
    except (OSError, ValueError):
        return False


def _version(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]
