"""The state of an unfinished run, from which it is resumed: a safetensors file with JSON in its metadata."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cifar_edge import __version__
from cifar_edge.data.folder.other import content_of
from cifar_edge.errors import ModelError, RecipeError, TrainingError
from cifar_edge.files import read_bounded, write_bytes
from cifar_edge.json_values import count
from cifar_edge.messages import display_name, reason
from cifar_edge.runs.progress import Progress, progress_of
from cifar_edge.runs.reading import header_record
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.run import STATE, Run
from cifar_edge.spec import METADATA_KEY
from cifar_edge.training.checkpoint import MAX_TENSOR_BYTES
from cifar_edge.training.distributed import this_worker
from cifar_edge.training.loop import Snapshot

_FIXED = ("model", "size", "init", "holdout", "epochs", "steps_per_epoch", "batch_size", "unlabelled")
"""Keys of the recipe that must not change: tensors, images and position in the schedule depend on them."""


@dataclass(frozen=True)
class RunState(Progress):
    """The progress of an unfinished run, with all that is needed to resume it.

    Attributes:
        snapshot: position in the phase, and tensors; None at the start of the phase.
    """

    snapshot: Snapshot | None = None


def save_state(folder: Path, state: RunState) -> None:
    """Write the state into the folder of its run, whole or not at all.

    Raises:
        CifarEdgeError: the file cannot be written; the earlier one stays.
    """
    record = state.to_record()
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
        snapshot = Snapshot(count(record["epoch"]), count(record["steps"]), tensors) if tensors else None
        return RunState(**vars(progress_of(record)), snapshot=snapshot)
    except FileNotFoundError as error:
        raise Run(folder).no_state() from error
    except (SafetensorError, RecipeError, OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{display_name(path)} holds no state that this cifar-edge can go on from ({reason(error)})"
        ) from error


def environment(device: torch.device, teachers: Sequence[Path], unlabelled: str = "") -> dict[str, Any]:
    """What the weights depend on bit for bit, besides recipe and data.

    Args:
        device: that trains.
        teachers: their weight files.
        unlabelled: the folder of unlabelled images; empty for none.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    on_gpu = device.type == "cuda"
    return {
        "cifar-edge": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processes": this_worker().world_size,
        "device": torch.cuda.get_device_name() if on_gpu else f"cpu ({torch.backends.cpu.get_cpu_capability()})",
        "teacher": " ".join(hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in teachers) or "none",
        **({"unlabelled": content_of(Path(unlabelled))} if unlabelled else {}),
    }


def changed_recipe(state: RunState, folder: Path, recipe: Recipe) -> str:
    """What has changed in the run's recipe.toml, read as ``recipe``, since the state was saved; empty if nothing.

    Raises:
        TrainingError: a key has changed that the state depends on.
    """
    old, new = state.recipe.settings, recipe.settings
    changes = {name: f"{name} from {old[name]} to {new[name]}" for name in old if old[name] != new[name]}
    if fixed := [text for name, text in changes.items() if name in _FIXED]:
        raise TrainingError(
            f"{display_name(folder)} cannot go on with {', '.join(fixed)}; undo that in its recipe.toml, or train anew "
            "with --recipe"
        )
    return ", ".join(changes.values())


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The differences between two environments, such as ``threads 1, now 2``; empty if there are none."""
    return ", ".join(f"{name} {old.get(name)}, now {value}" for name, value in new.items() if old.get(name) != value)
