"""Export: from a trained network to ONNX files that have been compared with it, and a report.

``import cifar_edge.export as edge`` gives `fold`, `finetune`, `quantize`, `export` and `debug`, for networks that are
not of this package: see docs/own-network.md.
"""

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
