"""Runs on disk, and which model a name means."""

from cifar_edge.runs.run import Run, RunStatus, list_runs
from cifar_edge.runs.summary import RunSummary

__all__ = ["Run", "RunStatus", "RunSummary", "list_runs"]
