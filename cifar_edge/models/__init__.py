"""The networks, as torch modules, their registry, and what they cost."""

from cifar_edge.models.registry import MODELS, Family, build, default_recipe, family
from cifar_edge.models.summary import Layer, Summary, summarize

__all__ = ["MODELS", "Family", "build", "default_recipe", "family", "Layer", "Summary", "summarize"]
