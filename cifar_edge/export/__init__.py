"""From a trained network to ONNX files that are proved against it, and their report."""

from cifar_edge.export.parity import Comparison, compare, torch_logits
from cifar_edge.export.pipeline import export_network
from cifar_edge.export.report import Report, Row

__all__ = ["export_network", "Report", "Row", "Comparison", "compare", "torch_logits"]
