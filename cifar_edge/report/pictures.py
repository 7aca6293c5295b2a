"""Test images in a report: the photograph, and over it what spoke for a mistake."""

import base64
import io

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image

from cifar_edge.data.dataset import Dataset, Images
from cifar_edge.report.html import Html, element, join
from cifar_edge.training.mistakes import original

_MAP_SIDE = 160
"""Height and width of a map, in pixels."""
_STRENGTH = 0.6
_LARGE = 128
"""Images of more pixels a side are stored as JPEG, which is much smaller there."""
_PLACES = (("upper left", "top", "upper right"), ("left", "middle", "right"), ("lower left", "bottom", "lower right"))


def photograph(dataset: Dataset, index: int, *parts: str) -> tuple[Html, Images, str]:
    """A test image as an element, its pixels as they are shown, and the name of its file, which may be empty.

    Args:
        dataset: it is one of its test images.
        index: its position.
        parts: what its text alternative says besides.
    """
    pixels, name = original(dataset, index)
    kind = "JPEG" if len(pixels) > _LARGE else "PNG"
    small = "pixelated" if len(pixels) <= 64 else None
    alt = ", ".join([f"test image {index}", *parts])
    shown = element("img", src=_data(Image.fromarray(pixels), kind), alt=alt, class_=small, loading="lazy")
    return shown, pixels, name


def evidence_map(pixels: Images, evidence: npt.NDArray[np.float32], said: str, true: str) -> Html:
    """The image in grey, and over it where the network saw one class rather than another; bright is much.

    Args:
        pixels: uint8 ``[s, s, 3]``.
        evidence: float32 ``[h, w]``, of the predicted class less that of the true one.
        said: the predicted class.
        true: the true class.
    """
    grey = Image.fromarray(pixels).convert("L").resize((_MAP_SIDE, _MAP_SIDE), Image.Resampling.BICUBIC)
    largest = max(float(evidence.max()), 1e-6)
    clipped = np.clip(evidence / largest, 0, 1).astype(np.float32)
    smooth = np.asarray(Image.fromarray(clipped).resize((_MAP_SIDE, _MAP_SIDE), Image.Resampling.BILINEAR))
    heat = colormaps["inferno"](smooth)[..., :3] * 255
    mixed = (1 - _STRENGTH) * np.asarray(grey, np.float64)[..., None] + _STRENGTH * heat
    alt = f"evidence for {said} rather than {true}: brightest at the {_place(evidence)}"
    return element("img", src=_data(Image.fromarray(mixed.astype(np.uint8)), "JPEG"), alt=alt, loading="lazy")


def picture(caption: Html, images: list[Html], name: str) -> Html:
    """A figure of images in a row, with its caption and the name of the file."""
    file = [element("span", name, class_="file")] if name else []
    return element(
        "figure",
        element("div", *images, class_="pair"),
        element("figcaption", join([caption, *file])),
        class_="picture",
    )


def _place(evidence: npt.NDArray[np.float32]) -> str:
    """Where ``evidence`` is largest, in words."""
    row, column = np.unravel_index(int(evidence.argmax()), evidence.shape)
    height, width = evidence.shape
    return _PLACES[int(3 * row // height)][int(3 * column // width)]


def _data(image: Image.Image, kind: str) -> str:
    content = io.BytesIO()
    image.save(content, kind, **({"quality": 82} if kind == "JPEG" else {"optimize": True}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"
