"""Export: from a trained network to ONNX files that have been compared with it, and a report."""

from cifar_edge.export.parity import Comparison, compare, torch_logits
from cifar_edge.export.pipeline import export_network
from cifar_edge.export.report import Report, Row

__all__ = ["export_network", "Report", "Row", "Comparison", "compare", "torch_logits"]
