"""What the manifests of build systems say of a network."""

import re

import cifar_edge
from cifar_edge.spec import ModelMetadata


def values(metadata: ModelMetadata, prefix: str) -> dict[str, str]:
    """What the templates of manifests say of a model whose names begin with ``prefix`` in C."""
    size, classes = metadata.size, len(metadata.labels)
    model = re.sub(r"[^\w.@ -]", "_", metadata.identity)  # nothing that a manifest reads as its own
    version = re.match(r"\d+\.\d+\.\d+", cifar_edge.__version__)
    return {
        "PREFIX": prefix,
        "VERSION": version[0] if version else "0.0.0",
        "SENTENCE": f"Classifies images of {size} x {size} pixels into {classes} classes, with {model}.",
    }
