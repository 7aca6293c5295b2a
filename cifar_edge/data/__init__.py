"""Datasets as numpy arrays: CIFAR-10, verified whatever its source, or an image folder. Never imports torch."""

from cifar_edge.data.dataset import Dataset, image_digests
from cifar_edge.data.load import load_dataset, location

__all__ = ["Dataset", "load_dataset", "location", "image_digests"]
