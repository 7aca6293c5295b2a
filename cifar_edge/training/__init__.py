"""Training: from a recipe and a dataset to a run, a folder with weights, metrics, summary and plots."""

from cifar_edge.runs.epochs import EpochRecord
from cifar_edge.runs.recipe import Recipe
from cifar_edge.training.callbacks import Callbacks
from cifar_edge.training.checkpoint import TrainedNetwork, load_network
from cifar_edge.training.metrics import read_metrics
from cifar_edge.training.run import fold_run, resume, train

__all__ = [
    "Recipe",
    "train",
    "resume",
    "fold_run",
    "Callbacks",
    "EpochRecord",
    "read_metrics",
    "TrainedNetwork",
    "load_network",
]
