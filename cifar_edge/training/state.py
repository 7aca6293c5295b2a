"""What an unfinished run goes on from: one safetensors file, with all that is no tensor as JSON in its metadata."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cifar_edge import __version__
from cifar_edge.data.origin import Origin
from cifar_edge.errors import ModelError, RecipeError, TrainingError
from cifar_edge.files import read_bounded, write_bytes
from cifar_edge.json_values import count, number, text
from cifar_edge.messages import reason
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.status import STATE, header_record
from cifar_edge.spec import METADATA_KEY
from cifar_edge.training.checkpoint import MAX_TENSOR_BYTES
from cifar_edge.training.loop import Snapshot
from cifar_edge.training.ranks import all_ranks
from cifar_edge.training.records import STAGES, EpochRecord

_FIXED = ("model", "holdout", "epochs", "batch_size")
"""Keys of the recipe without which the state means nothing: its tensors, its images, its place in the schedule."""


@dataclass(frozen=True)
class RunState:
    """Where an unfinished run stands.

    Attributes:
        stage: ``train`` or ``fold``; of the latter the trained weights are in the run already.
        snapshot: where in that stage; None at its start.
        records: of the epochs that are done.
        recipe: resolved.
        data: which data set it is trained on.
        environment: what else the weights depend on, bit for bit: see `environment`.
        created: when the run began, ISO 8601.
        seconds: how long it has been trained.
    """

    stage: str
    snapshot: Snapshot | None
    records: list[EpochRecord]
    recipe: Recipe
    data: Origin
    environment: dict[str, Any]
    created: str
    seconds: float


def save_state(folder: Path, state: RunState) -> None:
    """Write the state into the folder of its run, whole or not at all.

    Raises:
        CifarEdgeError: the file cannot be written; the one that was there stays.
    """
    record = {name: value for name, value in vars(state).items() if name != "snapshot"}
    record["records"] = [asdict(line) for line in state.records]
    record["recipe"], record["data"] = state.recipe.to_mapping(), state.data.to_record()
    tensors: dict[str, Tensor] = {}
    if state.snapshot is not None:
        record["epoch"], record["steps"] = state.snapshot.epoch, state.snapshot.steps
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.snapshot.tensors.items()}
    write_bytes(folder / STATE, save(tensors, {METADATA_KEY: json.dumps(record)}))


def load_state(folder: Path) -> RunState:
    """Read what `save_state` wrote.

    Raises:
        ModelError: the file is missing, damaged, or of another version of this package.
    """
    path = folder / STATE
    try:
        content = read_bounded(path, MAX_TENSOR_BYTES)
        record, tensors = header_record(io.BytesIO(content)), load(content)
        return RunState(
            stage=text(record["stage"], STAGES),
            snapshot=Snapshot(count(record["epoch"]), count(record["steps"]), tensors) if tensors else None,
            records=[EpochRecord.from_record(line) for line in record["records"]],
            recipe=Recipe.from_mapping(record["recipe"]),
            data=Origin.from_record(record["data"]),
            environment=dict(record["environment"]),
            created=text(record["created"]),
            seconds=number(record["seconds"]),
        )
    except FileNotFoundError as error:
        raise ModelError(f"{folder} holds no {STATE} to go on from; was it a training?") from error
    except (SafetensorError, RecipeError, OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} holds no state that this cifar-edge can go on from ({reason(error)})") from error


def environment(device: torch.device, teachers: Sequence[Path]) -> dict[str, Any]:
    """What the weights depend on bit for bit, beside recipe and data; ``teachers`` are the files of their weights."""
    on_gpu = device.type == "cuda"
    return {
        "cifar-edge": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processes": all_ranks().count,
        "device": torch.cuda.get_device_name() if on_gpu else f"cpu ({torch.backends.cpu.get_cpu_capability()})",
        "teacher": " ".join(hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in teachers) or "none",
    }


def changed_recipe(state: RunState, folder: Path, recipe: Recipe) -> str:
    """What in the run's recipe.toml, read as ``recipe``, was changed since the state was saved; empty if nothing.

    Raises:
        TrainingError: a change after which the state means nothing.
    """
    old, new = state.recipe.settings, recipe.settings
    changes = {name: f"{name} from {old[name]} to {new[name]}" for name in old if old[name] != new[name]}
    if fixed := [text for name, text in changes.items() if name in _FIXED]:
        raise TrainingError(
            f"{folder} cannot go on with {', '.join(fixed)}; undo that in its recipe.toml, or train anew with --recipe"
        )
    return ", ".join(changes.values())


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What differs between two environments, such as ``threads 1, now 2``; empty if nothing."""
    return ", ".join(f"{name} {old.get(name)}, now {value}" for name, value in new.items() if old.get(name) != value)
