"""Reads and writes runs on disk, and finds the model that a name means."""

from cifar_edge.runs.run import Run, RunStatus, list_runs
from cifar_edge.runs.summary import RunSummary

__all__ = ["Run", "RunStatus", "RunSummary", "list_runs"]
