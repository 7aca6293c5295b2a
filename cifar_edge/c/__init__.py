"""The target ``c``: C99 that computes the integer network bit for bit, for microcontrollers and PCs alike."""

from cifar_edge.c.gate import run
from cifar_edge.c.options import COptions
from cifar_edge.c.sources import write

__all__ = ["COptions", "run", "write"]
