"""Weights on disk: safetensors files whose metadata names the network and its labels."""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from cifar_edge.errors import ModelError
from cifar_edge.files import read_bounded, write_bytes
from cifar_edge.folding.description import describe, folded_network
from cifar_edge.folding.earlier import current_names, undescribed
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.messages import display_name, reason
from cifar_edge.models import build
from cifar_edge.runs.dataset import DatasetReference
from cifar_edge.runs.reading import network_named
from cifar_edge.runs.resolve import resolve_run
from cifar_edge.runs.run import SUMMARY, Run
from cifar_edge.spec import IMAGE_SIZE, METADATA_KEY

MAX_TENSOR_BYTES = 256 << 20
"""A larger file of weights or state is refused unread; the largest network here has 11 MB of weights."""


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with the weights of a run or a released model.

    Attributes:
        name: its registered name.
        labels: class names in the order of the logits.
        network: the module in evaluation mode; float32 ``[batch, 3, S, S]`` in, logits out.
        weights: the safetensors file it came from.
        sha256: of the bytes loaded from that file, hexadecimal.
        data: which dataset it was trained on.
        size: height and width S of the images.
        temperatures: precision -> temperature to divide the logits of its file by before the softmax; empty if the
            summary has no ``temperature``.
        folded: the network with its norms folded, in evaluation mode; None if the run has none.
        folded_sha256: of the bytes loaded from its file; empty if the run has none.
    """

    name: str
    labels: tuple[str, ...]
    network: nn.Module
    weights: Path
    sha256: str
    data: DatasetReference
    size: int = IMAGE_SIZE
    temperatures: Mapping[str, float] = field(default_factory=dict)
    folded: FoldedNetwork | None = None
    folded_sha256: str = ""


@dataclass(frozen=True)
class Weights:
    """What `save_weights` or `save_folded` wrote.

    Attributes:
        state: name -> tensor.
        model: name of the network.
        labels: class names in the order of the logits.
        size: height and width of the images.
        sha256: of the file's bytes, hexadecimal.
        layers: of a folded network: its description (see `cifar_edge.folding.description`), not checked. None where the
            file has none.
    """

    state: dict[str, Tensor]
    model: str
    labels: tuple[str, ...]
    size: int
    sha256: str
    layers: object = None


def save_weights(
    path: Path, state: Mapping[str, Tensor], model: str, labels: tuple[str, ...], size: int = IMAGE_SIZE
) -> None:
    """Write the ``state`` of a network for images of ``size`` to ``path`` as safetensors, whole or not at all.

    Raises:
        CifarEdgeError: the file cannot be written.
    """
    _save(path, state, _about(model, labels, size))


def save_folded(
    path: Path, network: FoldedNetwork, model: str, labels: tuple[str, ...], size: int = IMAGE_SIZE
) -> None:
    """Write a folded network to ``path`` as `save_weights` does, with the description of its layers.

    Raises:
        CifarEdgeError: the file cannot be written.
    """
    _save(path, network.state_dict(), _about(model, labels, size) | {"layers": describe(network)})


def _about(model: str, labels: tuple[str, ...], size: int) -> dict[str, Any]:
    return {"model": model, "labels": labels} | ({} if size == IMAGE_SIZE else {"size": size})


def _save(path: Path, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    # Only one key, because safetensors writes several in an order that changes from run to run.
    write_bytes(path, save(tensors, {METADATA_KEY: json.dumps(about)}))


def read_weights(path: Path) -> Weights:
    """Read what `save_weights` or `save_folded` wrote.

    Raises:
        ModelError: the file is missing, damaged, or was not written by either.
    """
    try:
        content = read_bounded(path, MAX_TENSOR_BYTES)
        state = load(content)
        about = network_named(io.BytesIO(content))
        digest = hashlib.sha256(content).hexdigest()
        return Weights(state, about.model, about.labels, about.size, digest, about.layers)
    except FileNotFoundError as error:
        raise ModelError(f"{display_name(path)} is missing; is the run finished?") from error
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{display_name(path)} has no weights of a cifar-edge network ({reason(error)})") from error


def network_of(weights: Weights, path: Path) -> nn.Module:
    """The network that has ``weights``, which were read from ``path``, in evaluation mode.

    It is a folded one if they describe its layers: a training that began with a folded network has no other.

    Raises:
        ModelError: there is no such network, or the weights do not fit it.
    """
    if weights.layers is not None:
        return _described(weights, path)
    network = build(weights.model, len(weights.labels), weights.size, like=weights.state)
    _load_state(network, weights, path)
    return network


def _described(weights: Weights, path: Path) -> FoldedNetwork:
    """The folded network whose layers ``weights`` describe."""
    try:
        network = folded_network(weights.layers, len(weights.labels), weights.size)
        check_tensors(weights.state, network.state_dict())  # before memory is taken for them
    except ValueError as error:
        raise ModelError(f"{display_name(path)} holds no folded network ({reason(error)})") from error
    network.to_empty(device="cpu")
    _load_state(network, weights, path)
    return network


def load_network(model: str | os.PathLike[str]) -> TrainedNetwork:
    """Load the network of a finished run or of a released model, and its folded form if there is one.

    Raises:
        ModelError: there is no such run or model, it holds no weights, or they do not fit the network they name.
    """
    run = Run(resolve_run(model).path)
    path, folded_path = run.weights(), run.weights(folded=True)
    weights = read_weights(path)
    network = network_of(weights, path)
    folded, folded_sha256 = None, ""
    if folded_path != path and folded_path.exists():
        folded_weights = read_weights(folded_path)
        folded, folded_sha256 = _folded_of(folded_weights, folded_path, network, weights), folded_weights.sha256
    data, summary = run.data, run.summary
    if "temperature" in summary.damage:
        raise ModelError(f"{run.path / SUMMARY} is missing or damaged; was the training interrupted?")
    return TrainedNetwork(
        name=weights.model,
        labels=weights.labels,
        network=network,
        weights=path,
        sha256=weights.sha256,
        data=data,
        size=weights.size,
        temperatures=summary.temperature or {},
        folded=folded,
        folded_sha256=folded_sha256,
    )


def _folded_of(folded: Weights, path: Path, network: nn.Module, trained: Weights) -> FoldedNetwork:
    """The network that has the weights ``folded``, read from ``path``: the folded form of ``network``.

    Its geometry is what the file says; a file of an earlier version says none, and has that of the network's family.
    """
    if folded.layers is not None:
        return _described(replace(folded, labels=trained.labels, size=trained.size), path)
    try:
        made = undescribed(network)
        folded = replace(folded, state=current_names(folded.state, made))
    except ValueError as error:
        raise ModelError(f"{display_name(path)} holds no folded network ({reason(error)})") from error
    _load_state(made, folded, path)
    return made


def _load_state(network: nn.Module, weights: Weights, path: Path) -> None:
    try:
        check_tensors(weights.state, network.state_dict())
        network.load_state_dict(weights.state)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{display_name(path)} does not fit the network that this cifar-edge builds") from error
    network.eval().requires_grad_(False)


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Check the names, shapes and dtypes of ``found``, because ``copy_`` would cast and broadcast others in silence.

    Raises:
        ValueError: they are not those of ``expected``.
    """
    if found.keys() != expected.keys():
        raise ValueError(f"it has {len(found.keys() - expected.keys())} other tensors")
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
            raise ValueError(f"its {name} is {found[name].dtype} {list(found[name].shape)}")


def new_generator(*seeds: int) -> torch.Generator:
    """A CPU generator that depends on ``seeds`` alone, such as (seed, epoch)."""
    generator = torch.Generator()
    generator.manual_seed(derived_seed(*seeds))
    return generator


def derived_seed(*seeds: int) -> int:
    """One seed in [0, 2^63) from several, such as (seed, epoch, step)."""
    value = 0
    for seed in seeds:
        value = (value * 1_000_003 + seed + 1) % (2**63)
    return value
