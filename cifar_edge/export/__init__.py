"""Export: from a trained network to ONNX files that have been compared with it, and a report.

``import cifar_edge.export as edge`` gives `fold`, `finetune`, `quantize`, `export` and `debug`, for networks that are
not of this package: see docs/own-network.md. These names are loaded at their first use, because they need torch, and
to write an exported int8 file in another format, `cifar_edge.export.from_file`, does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cifar_edge.export.own_network import Quantized, export, finetune, fold, quantize
    from cifar_edge.export.own_signals import Signals, debug
    from cifar_edge.export.parity import Comparison, compare, torch_logits
    from cifar_edge.export.pipeline import export_network
    from cifar_edge.export.report import Report, Row

__all__ = [
    "fold",
    "finetune",
    "quantize",
    "export",
    "debug",
    "Quantized",
    "Signals",
    "export_network",
    "Report",
    "Row",
    "Comparison",
    "compare",
    "torch_logits",
]

_HOMES = {
    "debug": "own_signals",
    "Signals": "own_signals",
    "export_network": "pipeline",
    "Report": "report",
    "Row": "report",
    "Comparison": "parity",
    "compare": "parity",
    "torch_logits": "parity",
}
"""Public name -> the module here that defines it; ``own_network`` where it is not listed."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'own_network')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
