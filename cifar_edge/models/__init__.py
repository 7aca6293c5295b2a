"""The networks as PyTorch modules, their registry, and a summary of their layers and costs."""

from cifar_edge.models.registry import MODELS, Family, build, default_recipe, family
from cifar_edge.models.summary import Layer, Summary, summarize

__all__ = ["MODELS", "Family", "build", "default_recipe", "family", "Layer", "Summary", "summarize"]
