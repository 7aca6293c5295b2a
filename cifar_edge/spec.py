"""The edge contract: what every exported ``.onnx`` file promises, and what every runtime may rely on.

The input ``image`` is raw pixels, so that no caller can preprocess them wrongly. It is uint8, NHWC, RGB,
``[batch, S, S, 3]``, where S is the model's size. The output ``logits`` is float32, ``[batch, classes]``. Inside the
graph a pixel ``p`` becomes ``(p - 128) / 64``. That is an exact int8 quantisation (scale 1/64, zero point 128), so the
int8 graph reads the image without floats, and zero padding is padding with grey.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

from cifar_edge.errors import ContractError

CONTRACT_VERSIONS = (1, 2)
"""Version 2 adds ``size`` and ``threshold`` to the metadata; a model that needs neither is written as version 1."""
METADATA_KEY = "cifar_edge"
"""The key in ``metadata_props`` of the JSON of `ModelMetadata`."""

INPUT_NAME = "image"
OUTPUT_NAME = "logits"
SCORES_NAME = "scores"
"""The output of a ``.tflite`` file that ends with a softmax; it is no output of the contract."""
IMAGE_SIZE = 32
"""Height and width of the input, unless a model says otherwise."""
IMAGE_SIZES = tuple(range(32, 129, 16))
"""The heights and widths that a model may have."""
IMAGE_CHANNELS = 3

MIN_CLASSES, MAX_CLASSES = 2, 1_000
"""How many classes a network that is trained here may tell apart."""

MAX_THRESHOLD = 1e9
"""The largest magnitude of a threshold. The bound refuses NaN and infinity, which JSON as Python reads it may hold."""

PIXEL_ZERO_POINT = 128
PIXEL_SCALE = 1.0 / 64.0
PIXEL_MAP = "(p - 128) / 64"


def input_layout(size: int) -> str:
    """Dtype, layout and shape of the input of a model of ``size``."""
    return f"uint8 NHWC RGB [batch, {size}, {size}, 3]"


def resize_rule(size: int) -> str:
    """How any image becomes the input of a model of ``size``."""
    return (
        "EXIF orientation; RGB, alpha over grey 128; centre-crop square; "
        f"area averaging down, bicubic up; {size}x{size} RGB passes bit for bit"
    )


MAX_OPSET = 20
MAX_IR_VERSION = 10

CIFAR10_LABELS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

Precision = Literal["fp32", "int8"]


def is_model_name(name: str) -> bool:
    """Whether files of an export may be called by ``name``: letters, digits, ``-``, ``_`` and ``.``, at most 100.

    It holds for the metadata of a file from elsewhere, so that the files written from it lie where they should.
    """
    return 0 < len(name) <= 100 and all(each.isalnum() or each in "-_." for each in name) and name[0] not in "-."


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """The metadata of an exported model, stored as JSON in the ``.onnx`` file.

    Attributes:
        model: registered name of the network, such as ``gn-cnn``; see `is_model_name`.
        precision: ``fp32`` or ``int8``.
        labels: class names in the order of the logits.
        parameters: trainable parameters of the PyTorch module that was exported.
        macs: multiply-accumulates of its convolutions and linear layers, for one image.
        weights_sha256: SHA-256 of the safetensors file of the weights, in hexadecimal.
        test_accuracy: fraction of ``test_images`` that this file classifies correctly, in [0, 1]; None if not measured.
        test_images: how many test images ``test_accuracy`` was measured on.
        versions: library name -> version (torch, onnx, onnxruntime).
        created: time of the export, ISO 8601, UTC.
        temperature: divisor of the logits before the softmax, which calibrates the scores: of answers with score 0.8,
            about 80 % are correct (Guo et al. 2017, arXiv:1706.04599). 1 if none was fitted. The classes do not change.
        size: height and width of the input, one of `IMAGE_SIZES`.
        threshold: an answer is "not sure" if its largest logit is below this; None for no threshold. It is on logits,
            not on scores, so that a target with int32 logits compares integers (`IntegerNetwork.logit_scale`).
        normalization: the map from pixels that the network was trained with, such as ``(p - 120) / 60``, where that is
            another than ``pixel_map``: its first layer makes up for the difference. None where they are the same.
    """

    model: str
    precision: Precision
    labels: tuple[str, ...]
    parameters: int
    macs: int
    weights_sha256: str
    test_accuracy: float | None
    test_images: int
    versions: Mapping[str, str]
    created: str
    temperature: float = 1.0
    size: int = IMAGE_SIZE
    threshold: float | None = None
    normalization: str | None = None

    @property
    def contract(self) -> int:
        """The contract version: the oldest that has all of these fields."""
        return 1 if self.size == IMAGE_SIZE and self.threshold is None else 2

    @property
    def identity(self) -> str:
        """Weights and precision, the same for every export of them, such as ``gn-cnn.int8@4c7e20d5a1b3``."""
        return f"{self.model}.{self.precision}@{self.weights_sha256[:12]}"

    def to_record(self) -> dict[str, Any]:
        """The metadata as JSON values, with the promises of the contract for this size."""
        record = {**asdict(self), "contract": self.contract, **_promises(self.size)}
        if self.contract == 1:
            del record["size"], record["threshold"]
        if self.normalization is None:
            del record["normalization"]
        return record

    def to_json(self) -> str:
        """Compact JSON, keys sorted, so that the same metadata gives the same bytes."""
        return json.dumps(self.to_record(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Unknown keys are ignored, since a newer writer may add some in a contract version.

        Raises:
            ContractError: it is not such JSON, a key is missing or has a wrong value, or its version is unknown.
        """
        try:
            record = json.loads(text)
            json.dumps(record, ensure_ascii=False).encode()  # JSON may contain lone surrogates, which are not text
        except UnicodeEncodeError as error:
            raise ContractError("its metadata contains text that is not Unicode") from error
        except (ValueError, RecursionError) as error:
            raise ContractError("its metadata is not JSON") from error
        if not isinstance(record, dict):
            raise ContractError("its metadata is not a JSON object")
        contract = record.get("contract")
        if type(contract) is not int or contract not in CONTRACT_VERSIONS:
            known_versions = " and ".join(map(str, CONTRACT_VERSIONS))
            raise ContractError(f"it has contract version {contract!r}, but this cifar-edge knows {known_versions}")
        record = {"normalization": None} | record
        later: dict[str, Any] = {"size": IMAGE_SIZE, "threshold": None}
        record = record | later if contract == 1 else later | record
        known = {field.name: record[field.name] for field in fields(cls) if field.name in record}
        missing = [name for name in (*_NAMES, *_promises(IMAGE_SIZE)) if name not in record]
        if missing:
            raise ContractError(f"its metadata lacks {', '.join(missing)}")
        for key, expected in _JSON_TYPES.items():
            if not isinstance(known[key], expected) or isinstance(known[key], bool):
                raise ContractError(f"its metadata has {key} = {known[key]!r}")
        for key in _COUNTS:
            if known[key] < 0:
                raise ContractError(f"its metadata has {key} = {known[key]!r}")
        if not is_model_name(known["model"]):
            raise ContractError(f"its metadata has model = {known['model']!r}")
        known["labels"] = _labels(known["labels"])
        # The bounds keep the softmax finite, whatever the logits.
        if not 1e-3 <= known["temperature"] <= 1e3:
            raise ContractError(f"its metadata has temperature = {known['temperature']!r}")
        if known["test_accuracy"] is not None and not 0 <= known["test_accuracy"] <= 1:
            raise ContractError(f"its metadata has test_accuracy = {known['test_accuracy']!r}")
        if known["precision"] not in get_args(Precision):
            raise ContractError(f"its metadata has precision = {known['precision']!r}")
        if not all(isinstance(version, str) for version in known["versions"].values()):
            raise ContractError(f"its metadata has versions = {known['versions']!r}")
        if known["size"] not in IMAGE_SIZES:
            raise ContractError(
                f"its metadata has size = {known['size']}, which is not a multiple of 16 from {IMAGE_SIZES[0]} to "
                f"{IMAGE_SIZES[-1]}"
            )
        if known["threshold"] is not None and not abs(known["threshold"]) <= MAX_THRESHOLD:
            raise ContractError(f"its metadata has threshold = {known['threshold']!r}")
        for key, promised in _promises(known["size"]).items():
            if record[key] != promised:
                raise ContractError(
                    f"its metadata has {key} = {record[key]!r}, but contract {contract} requires {promised!r}"
                )
        return cls(**known)


_NAMES = tuple(field.name for field in fields(ModelMetadata))


def _promises(size: int) -> dict[str, str]:
    """What the contract fixes, by the key in the metadata that repeats it."""
    return {"input_layout": input_layout(size), "pixel_map": PIXEL_MAP, "resize_rule": resize_rule(size)}


_JSON_TYPES: Mapping[str, Any] = {
    "model": str,
    "labels": list,
    "parameters": int,
    "macs": int,
    "weights_sha256": str,
    "test_accuracy": (float, int, type(None)),
    "test_images": int,
    "versions": dict,
    "created": str,
    "temperature": (float, int),
    "size": int,
    "threshold": (float, int, type(None)),
    "normalization": (str, type(None)),
}

_COUNTS = ("parameters", "macs", "test_images")


def _labels(found: list[object]) -> tuple[str, ...]:
    labels = tuple(label for label in found if isinstance(label, str) and label)
    if len(labels) != len(found) or len(set(labels)) != len(labels) or len(labels) < 2:
        raise ContractError(f"its metadata has labels = {found!r}")
    return labels
