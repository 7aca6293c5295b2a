"""Checks of what a user hands over with a network of their own; each failure is one line."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from cifar_edge.errors import ExportError
from cifar_edge.messages import display_name, listed, reason, with_article
from cifar_edge.spec import IMAGE_CHANNELS, IMAGE_SIZES, MAX_CLASSES, MIN_CLASSES, is_model_name

Number = float | Sequence[float]
"""One number, or one a channel."""

_WRAPPERS = {
    "DataParallel": "its .module",
    "ScriptModule": "the module that it was made of",
    "TopLevelTracedModule": "the module that it was made of",
    "OptimizedModule": "the module that torch.compile was given, or its ._orig_mod",
    "TracedNetwork": "the network that was folded",
}
"""End of the name of a class that holds another network -> what to give instead."""


def check_stage(given: object, wanted: type, stage: str, before: str) -> None:
    """Refuse what is not of the stage before.

    Args:
        given: the first argument.
        wanted: its class.
        stage: whose argument it is.
        before: what returns it, such as ``fold``.

    Raises:
        ExportError: it is of another class.
    """
    if not isinstance(given, wanted):
        found = with_article("class" if isinstance(given, type) else type(given).__name__)
        raise ExportError(f"{stage} takes what {before} returned, not {found}; the order is fold, quantize, export")


def check_network(network: object, what: str = "network") -> None:
    """Refuse what is no network in evaluation mode on the CPU, with finite float32 weights.

    Raises:
        ExportError: with the module or the tensor that is in the way.
    """
    if isinstance(network, type) and issubclass(network, nn.Module):
        raise ExportError(f"the {what} is a class; give an instance, {network.__name__}(...)")
    if not isinstance(network, nn.Module):
        raise ExportError(f"the {what} is {with_article(type(network).__name__)}, not a torch.nn.Module")
    for kind, inner in _WRAPPERS.items():
        if type(network).__name__.endswith(kind):
            raise ExportError(f"the {what} is {with_article(type(network).__name__)}; give {inner}")
    for name, module in network.named_modules():
        if module.training:
            raise ExportError(f"{name or f'the {what}'} is in training mode; call {what}.eval() before")
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if is_lazy(tensor):
            raise ExportError(f"{name} has no shape yet; call the {what} once before")
        if tensor.device.type != "cpu":
            raise ExportError(f"{name} is on {tensor.device}; call {what}.cpu() before")
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ExportError(f"{name} is {str(tensor.dtype).removeprefix('torch.')}; call {what}.float() before")
        if not torch.isfinite(tensor).all():
            raise ExportError(f"{name} holds NaN or infinity; its training went wrong")
        if name.rpartition(".")[2] == "running_var" and (tensor < 0).any():
            raise ExportError(f"{name} is negative, which no variance is; look at how these weights were saved")


def check_images(images: object, what: str, least: int = 2, size: int | None = None) -> npt.NDArray[np.uint8]:
    """``images``, contiguous, if they are uint8 ``[n, S, S, 3]`` of a size that a model may have.

    Args:
        images: to check.
        what: name of the argument, for the message.
        least: the least number of images.
        size: the S that is expected; None for any.

    Raises:
        ExportError: they are not.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        found = f"{images.dtype} array" if isinstance(images, np.ndarray) else type(images).__name__
        raise ExportError(f"{what} are a numpy array of uint8 pixels, [n, S, S, 3], not a {found}")
    sizes = (size,) if size else IMAGE_SIZES
    if images.ndim != 4 or images.shape[3] != IMAGE_CHANNELS or images.shape[1] != images.shape[2]:
        first = images.ndim == 4 and images.shape[1] == IMAGE_CHANNELS
        advice = "; give images.transpose(0, 2, 3, 1)" if first else ""
        raise ExportError(f"{what} have the shape {list(images.shape)}, not [n, S, S, 3]{advice}")
    if images.shape[1] not in sizes:
        allowed = str(size) if size else f"a multiple of 16 from {IMAGE_SIZES[0]} to {IMAGE_SIZES[-1]}"
        raise ExportError(f"{what} are {images.shape[1]}x{images.shape[1]} pixels; S is {allowed}")
    if len(images) < least:
        raise ExportError(f"{what} are {len(images)}; give {least} or more")
    return np.ascontiguousarray(images)


def check_labelled(
    pair: object, what: str, classes: int, size: int, least: int = 1
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """``pair`` if it is images and as many labels below ``classes``.

    Raises:
        ExportError: it is not.
    """
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ExportError(f"{what} is a pair, (images, labels)")
    images = check_images(pair[0], f"{what} images", least, size)
    try:
        labels = np.asarray(pair[1])
    except (TypeError, ValueError, RuntimeError) as error:  # lists of several lengths, a tensor on a GPU
        raise ExportError(f"{what} labels are no array of whole numbers: {reason(error)}") from error
    if labels.ndim == 1 and len(labels) != len(images):
        raise ExportError(f"{what} labels are {len(labels)}, but the images are {len(images)}")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ExportError(f"{what} labels are whole numbers, [{len(images)}], not {labels.dtype} {list(labels.shape)}")
    if not ((labels >= 0) & (labels < classes)).all():
        raise ExportError(
            f"{what} labels go from {labels.min()} to {labels.max()}, but the network has {classes} classes"
        )
    return images, np.ascontiguousarray(labels, np.int64)


def check_classes(classes: int) -> None:
    """Refuse a number of classes that a model cannot have.

    Raises:
        ExportError: it is too small or too large.
    """
    if not MIN_CLASSES <= classes <= MAX_CLASSES:
        raise ExportError(f"the network has {classes:,} classes; {MIN_CLASSES} to {MAX_CLASSES:,} can be told apart")


def check_labels(labels: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    """The names of the classes; their numbers if there are none.

    Raises:
        ExportError: they are not as many different names as there are classes.
    """
    if labels is None:
        return tuple(map(str, range(classes)))
    if isinstance(labels, str):
        raise ExportError(f"labels are the text {display_name(repr(labels))}; give a list of names, one a class")
    try:
        names = tuple(labels)
    except TypeError as error:
        raise ExportError(
            f"labels are {with_article(type(labels).__name__)}; give a list of names, one a class"
        ) from error
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        raise ExportError("labels are different names, one a class")
    if not names:
        raise ExportError(f"labels are empty; give {classes} names, or None for numbers")
    if len(names) != classes:
        raise ExportError(f"labels are {len(names)} names ({listed(names)}), but the network has {classes} classes")
    return names


def check_name(name: str) -> str:
    """``name`` if files can be called so.

    Raises:
        ExportError: they cannot.
    """
    if not isinstance(name, str) or not is_model_name(name):
        shown = display_name(repr(name))
        raise ExportError(f"the name {shown} is not made of at most 100 letters, digits, '-', '_' and '.'")
    return name


def check_number(value: object, what: str) -> float:
    """``value`` as a float, if it is a number.

    Raises:
        ExportError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ExportError(f"{what} = {display_name(repr(value))} is not a number")
    return float(value)


def check_whole(value: object, what: str) -> int:
    """``value`` as an int, if it is a whole number.

    Raises:
        ExportError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ExportError(f"{what} = {display_name(repr(value))} is not a whole number")
    return int(value)


def check_max_drop(value: object) -> float:
    """``value`` as a float, if it is a number of percentage points that may be lost.

    Raises:
        ExportError: it is none.
    """
    points = check_number(value, "max_drop")
    if not (points >= 0 and math.isfinite(points)):
        raise ExportError(f"max_drop = {points:g} is not a number of percentage points of 0 or more")
    return points


def check_input_map(mean: Number, std: Number) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """``mean`` and ``std`` of each channel, if they can be in units of 0 to 255.

    Raises:
        ExportError: they are no numbers, or those of pixels from 0 to 1. (A mean of 0 and a std of 1 leave pixels as
            they are.)
    """
    means, deviations = _channels(mean, "mean"), _channels(std, "std")
    if min(deviations) <= 0:
        raise ExportError(f"std = {shown(deviations)} is not positive; it is in units of 0 to 255")
    small = {"mean": means} if 0 < max(means) <= 1 else {}
    small |= {"std": deviations} if max(deviations) < 1 else {}
    if small:
        given = " and ".join(f"{what} = {shown(values)}" for what, values in small.items())
        wanted = " and ".join(shown([255 * value for value in values]) for values in small.values())
        raise ExportError(f"{given}: units are those of pixels from 0 to 255, not from 0 to 1; give {wanted}")
    return means, deviations


def shown(values: Sequence[float]) -> str:
    """One number, or one a channel, as the command line takes them."""
    texts = [f"{value:.6g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else ",".join(texts)


def _channels(values: Number, what: str) -> tuple[float, ...]:
    """A number for each channel.

    Raises:
        ExportError: there are others than one or three, or one is no finite number.
    """
    found: Any = np.asarray(values, dtype=object).reshape(-1).tolist()
    try:
        numbers = [float(value) for value in found]
    except (TypeError, ValueError) as error:
        raise ExportError(f"{what} = {values!r} is neither a number nor one for each channel") from error
    if len(numbers) not in (1, IMAGE_CHANNELS) or not np.isfinite(numbers).all():
        raise ExportError(f"{what} = {values!r} is neither a number nor one for each of {IMAGE_CHANNELS} channels")
    return tuple(numbers * IMAGE_CHANNELS if len(numbers) == 1 else numbers)
