"""What a ``.tflite`` file says of its input and output to Android's tools, and the labels packed behind it.

The schema is tensorflow_lite_support/metadata/metadata_schema.fbs of https://github.com/tensorflow/tflite-support. No
package without TensorFlow has classes for it, so the few tables needed here are written by the numbers of their fields.
"""

import io
import zipfile
from collections.abc import Mapping
from typing import NamedTuple

import flatbuffers

from cifar_edge.export.targets.litert_graph import Graph
from cifar_edge.integer import Quantization
from cifar_edge.spec import (
    INPUT_NAME,
    METADATA_KEY,
    OUTPUT_NAME,
    SCORES_NAME,
    ModelMetadata,
    resize_rule,
)

LABELS = "labels.txt"

_IDENTIFIER = b"M001"
_KEY = "TFLITE_METADATA"
_PARSER_VERSION = "1.0.0"
_RGB = 1  # of ColorSpaceType
_FEATURE, _IMAGE = 1, 2  # of ContentProperties
_NORMALIZATION = 1  # of ProcessUnitOptions
_TENSOR_AXIS_LABELS = 2  # of AssociatedFileType
_FIRST_TIME = (1980, 1, 1, 0, 0, 0)
"""The first time that a zip file can hold, for all files: the same model gives the same bytes."""


def packed(graph: Graph, pixels: Quantization, metadata: ModelMetadata, *, scores: bool) -> bytes:
    """The ``.tflite`` file of ``graph``: with metadata for Android and for this package, and with its labels.

    The labels, one a line, are in a zip file behind the model, where Android's tools read them.

    Args:
        graph: complete.
        pixels: the quantization of the image.
        metadata: of the model.
        scores: whether the output is scores, and not logits.
    """
    graph.metadata(_KEY, _tensor_metadata(pixels, metadata, scores=scores))
    graph.metadata(METADATA_KEY, metadata.to_json().encode())
    file = io.BytesIO(graph.to_bytes(metadata.identity))
    with zipfile.ZipFile(file, "a") as behind:
        behind.writestr(zipfile.ZipInfo(LABELS, _FIRST_TIME), "".join(f"{label}\n" for label in metadata.labels))
    return file.getvalue()


def _tensor_metadata(pixels: Quantization, metadata: ModelMetadata, *, scores: bool) -> bytes:
    """The content for `_KEY`.

    Args:
        pixels: the quantization of the image.
        metadata: of the model.
        scores: whether the output is scores, and not logits.
    """
    tables = _Tables()
    labels = tables.table({0: tables.text(LABELS), 2: _TENSOR_AXIS_LABELS})
    # Android's tools normalize pixels by this and then quantize them as the tensor says, so both have to be one map,
    # whatever the network was trained with: what comes out is the pixel.
    normalization = tables.table({0: tables.floats(pixels.zero_point), 1: tables.floats(1 / float(pixels.scale))})
    image = tables.table(
        {
            0: tables.text(INPUT_NAME),
            1: tables.text(
                f"uint8 RGB pixels, {metadata.size} x {metadata.size}. cifar-edge makes them of an image so: "
                f"{resize_rule(metadata.size)}. Another way to resize gives other pixels, and some other classes."
            ),
            3: tables.table({0: _IMAGE, 1: tables.table({0: _RGB})}),
            4: tables.vector(tables.table({0: _NORMALIZATION, 1: normalization})),
        }
    )
    answer = tables.table(
        {
            0: tables.text(SCORES_NAME if scores else OUTPUT_NAME),
            1: tables.text(
                "The probability of each class." if scores else "A number for each class, before a softmax."
            ),
            3: tables.table({0: _FEATURE, 1: tables.table({})}),
            6: tables.vector(labels),
        }
    )
    graph = tables.table({2: tables.vector(image), 3: tables.vector(answer)})
    return tables.finish(
        {
            0: tables.text(metadata.identity),
            1: tables.text(f"Tells apart {len(metadata.labels)} classes. Made by `cifar-edge export`."),
            3: tables.vector(graph),
            7: tables.text(_PARSER_VERSION),
        }
    )


class _Place(NamedTuple):
    """Where something is in a flatbuffer."""

    offset: int


class _Tables:
    """A flatbuffer that is written from the innermost table outwards."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder()

    def text(self, text: str) -> _Place:
        return _Place(self._builder.CreateString(text))

    def floats(self, value: float) -> _Place:
        """A vector of one float."""
        self._builder.StartVector(4, 1, 4)
        self._builder.PrependFloat32(value)
        return _Place(self._builder.EndVector())

    def vector(self, table: _Place) -> _Place:
        """A vector of one table."""
        self._builder.StartVector(4, 1, 4)
        self._builder.PrependUOffsetTRelative(table.offset)
        return _Place(self._builder.EndVector())

    def table(self, fields: Mapping[int, _Place | int]) -> _Place:
        """A table of ``fields`` by their numbers: each a place, or a number of one byte."""
        self._builder.StartObject(max(fields, default=-1) + 1)
        for number, value in fields.items():
            if isinstance(value, _Place):
                self._builder.PrependUOffsetTRelativeSlot(number, value.offset, 0)
            else:
                self._builder.PrependUint8Slot(number, value, 0)
        return _Place(self._builder.EndObject())

    def finish(self, fields: Mapping[int, _Place | int]) -> bytes:
        """The whole flatbuffer, with a table of ``fields`` as its root."""
        self._builder.Finish(self.table(fields).offset, _IDENTIFIER)
        return bytes(self._builder.Output())
