"""What all pictures of a run share: the style, names of classes, and writing the file."""

import warnings
from pathlib import Path

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cifar_edge.files import replacing
from cifar_edge.messages import display_name

_DOTS_PER_INCH = 120
_LONGEST_NAME = 24

STYLE = style.context("default")
"""Makes plots independent of the style that a notebook has set."""


def short(label: str, longest: int = _LONGEST_NAME) -> str:
    """A name as pictures show it, cut to ``longest`` characters."""
    name = display_name(label)
    return name if len(name) <= longest else f"{name[: longest - 3]}..."


def save(figure: Figure, path: Path) -> None:
    """Write ``figure`` as PNG.

    Raises:
        CifarEdgeError: ``path`` cannot be written.
    """
    FigureCanvasAgg(figure)
    with replacing(path) as temporary, warnings.catch_warnings():
        # Characters that no font here has are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(temporary, dpi=_DOTS_PER_INCH, format="png")
