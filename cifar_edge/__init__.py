"""Classify images on edge devices with a small GroupNorm CNN: trained in PyTorch, run by onnxruntime alone.

Everything public is named here and loaded at its first use, so that ``import cifar_edge`` itself costs nothing::

    from cifar_edge import Classifier

    print(Classifier().predict("photo.jpg").label)
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cifar_edge.errors import (
        CannotRun,
        CifarEdgeError,
        ContractError,
        DataError,
        ExportError,
        GateFailed,
        ImageError,
        Interrupted,
        MissingExtra,
        ModelError,
        PageError,
        RecipeError,
        TrainingError,
    )
    from cifar_edge.runtime.classifier import Classifier
    from cifar_edge.runtime.results import ClassScore, Prediction
    from cifar_edge.spec import ModelMetadata

__version__ = "0.2.0"

# From 1.29 on onnxruntime tells Microsoft of each session, unless this is set before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Classifier",
    "Prediction",
    "ClassScore",
    "ModelMetadata",
    "CifarEdgeError",
    "ImageError",
    "ModelError",
    "ContractError",
    "DataError",
    "TrainingError",
    "ExportError",
    "CannotRun",
    "PageError",
    "MissingExtra",
    "RecipeError",
    "GateFailed",
    "Interrupted",
    "__version__",
]

_HOMES = {
    "Classifier": "cifar_edge.runtime.classifier",
    "Prediction": "cifar_edge.runtime.results",
    "ClassScore": "cifar_edge.runtime.results",
    "ModelMetadata": "cifar_edge.spec",
}
"""Public name -> the module that defines it; `cifar_edge.errors` where it is not listed."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "cifar_edge.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
