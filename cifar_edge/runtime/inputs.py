"""An image to classify, with the name that its answer has."""

from dataclasses import dataclass
from pathlib import Path

from cifar_edge.errors import ImageError
from cifar_edge.messages import display_name


@dataclass(frozen=True, slots=True)
class Input:
    """One input.

    Attributes:
        name: its name in results; undecodable bytes are as `os.fsdecode` returns them.
        source: a path, the bytes of an image, or the error of finding it.
    """

    name: str
    source: str | Path | bytes | ImageError

    @property
    def shown_name(self) -> str:
        """Its name in errors; bytes come from standard input."""
        return "standard input" if isinstance(self.source, bytes) else display_name(self.name)
