"""C99 that computes an integer network bit for bit, for microcontrollers and PCs alike."""

from cifar_edge.c.figures import figures
from cifar_edge.c.gate import run
from cifar_edge.c.options import COptions
from cifar_edge.c.selftest import selftest
from cifar_edge.c.sources import write

__all__ = ["COptions", "figures", "run", "selftest", "write"]
