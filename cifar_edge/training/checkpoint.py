"""Weights on disk: safetensors, with the name of the network and its labels beside the tensors."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from cifar_edge.data.origin import Origin
from cifar_edge.errors import ModelError
from cifar_edge.files import write_bytes
from cifar_edge.models import build
from cifar_edge.models.folded import FoldedNetwork
from cifar_edge.models.gn_cnn import GnCnn
from cifar_edge.runtime.resolve import SUMMARY, WEIGHTS, resolve_run
from cifar_edge.spec import METADATA_KEY
from cifar_edge.training.folding import unfitted

FOLDED_WEIGHTS = "deploy.safetensors"


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with the weights a run (or a released model) holds.

    Attributes:
        name: its registered name.
        labels: class names in the order of the logits.
        network: the module in evaluation mode; float32 ``[batch, 3, 32, 32]`` in, logits out.
        weights: the safetensors file it came from.
        data: which data set it was trained on.
        temperatures: precision -> what the logits of its file are to be divided by before the softmax; empty where the
            summary has no ``temperature``.
        folded: the network with its norms folded, likewise in evaluation mode; None where the run has none.
    """

    name: str
    labels: tuple[str, ...]
    network: nn.Module
    weights: Path
    data: Origin
    temperatures: Mapping[str, float] = field(default_factory=dict)
    folded: FoldedNetwork | None = None


def save_weights(path: Path, state: Mapping[str, Tensor], model: str, labels: tuple[str, ...]) -> None:
    """Write ``state`` to ``path`` as safetensors, whole or not at all.

    Raises:
        CifarEdgeError: the file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    # One key only: safetensors writes several in an order that changes from run to run.
    write_bytes(path, save(tensors, {METADATA_KEY: json.dumps({"model": model, "labels": labels})}))


def read_weights(path: Path) -> tuple[dict[str, Tensor], str, tuple[str, ...]]:
    """Read what `save_weights` wrote: the tensors, the name of the network, the labels.

    Raises:
        ModelError: the file is missing, damaged, or was not written by `save_weights`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[METADATA_KEY])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        return state, str(about["model"]), tuple(map(str, about["labels"]))
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; is the run finished?") from error
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} holds no weights of a cifar-edge network ({error})") from error


def load_weights(path: Path) -> tuple[nn.Module, str, tuple[str, ...]]:
    """The network whose weights `save_weights` wrote, in evaluation mode; its name; the labels.

    Raises:
        ModelError: the file holds no weights, or they do not fit the network they name.
    """
    state, name, labels = read_weights(path)
    network = build(name, len(labels))
    _load_state(network, state, path)
    return network, name, labels


def load_network(model: str | os.PathLike[str]) -> TrainedNetwork:
    """Load the network of a finished run, or of a released model by its name, and its folded form if that is there.

    Raises:
        ModelError: there is no such run or model, it holds no weights, or they do not fit the network they name.
    """
    folder = resolve_run(model).path
    network, name, labels = load_weights(folder / WEIGHTS)
    folded = None
    if isinstance(network, GnCnn) and (folder / FOLDED_WEIGHTS).exists():
        folded = unfitted(network)
        _load_state(folded, read_weights(folder / FOLDED_WEIGHTS)[0], folder / FOLDED_WEIGHTS)
    data = Origin.of_run(folder)
    try:
        summary = json.loads((folder / SUMMARY).read_text())
        temperatures = {str(precision): float(value) for precision, value in summary.get("temperature", {}).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{folder / SUMMARY} is missing or damaged; was the training interrupted?") from error
    return TrainedNetwork(name, labels, network, folder / WEIGHTS, data, temperatures, folded)


def _load_state(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{path} does not fit the network that this cifar-edge builds") from error
    network.eval().requires_grad_(False)


def new_generator(*seeds: int) -> torch.Generator:
    """A CPU generator that depends on ``seeds`` alone, such as (seed, epoch)."""
    generator = torch.Generator()
    generator.manual_seed(derived_seed(*seeds))
    return generator


def derived_seed(*seeds: int) -> int:
    """One seed out of several, such as (seed, epoch, step); in [0, 2^63)."""
    value = 0
    for seed in seeds:
        value = (value * 1_000_003 + seed + 1) % (2**63)
    return value
