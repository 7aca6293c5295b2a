"""CIFAR-10 as verified numpy arrays, from wherever they can be had, or own pictures by class. Never imports torch."""

from cifar_edge.data.dataset import Dataset, image_digests
from cifar_edge.data.load import load_dataset, location

__all__ = ["Dataset", "load_dataset", "location", "image_digests"]
