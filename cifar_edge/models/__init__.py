"""The networks, as torch modules, and their registry."""

from cifar_edge.models.registry import MODELS, Family, build, family

__all__ = ["MODELS", "Family", "build", "family"]
