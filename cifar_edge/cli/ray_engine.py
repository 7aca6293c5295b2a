"""`cifar-edge predict --engine ray`: predict on a cluster, with Ray Data, into Parquet files.

Each worker process holds one `Classifier`, made of the model's bytes, and reads the images itself: their paths must
name the same files on every machine. The output has the records of `cifar_edge.cli.prediction_records` as columns, and
``position``, the index of the input, since the order of the rows is not kept.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.dataset
import ray
import ray.data

from cifar_edge.cli.prediction_records import record
from cifar_edge.errors import CifarEdgeError, ImageError
from cifar_edge.messages import display_name
from cifar_edge.runtime.classifier import Classifier
from cifar_edge.runtime.inputs import Input
from cifar_edge.runtime.quiet import silence_pillow
from cifar_edge.runtime.results import ANSWER_FIELDS, CLASS_FIELDS

BLOCK = 10_000
"""Inputs that a worker gets at a time, and rows of a Parquet file."""

_TYPES = {"string": pyarrow.string(), "integer": pyarrow.int64(), "number": pyarrow.float64()}
"""JSON type -> type of a column."""


def _columns(schemas: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: _TYPES[schema["type"]] for name, schema in schemas.items()}


SCHEMA = pyarrow.schema(
    {
        "position": pyarrow.int64(),
        "version": pyarrow.int64(),
        "input": pyarrow.string(),
        "input_base64": pyarrow.string(),
        "model": pyarrow.string(),
        **_columns(ANSWER_FIELDS),
        "top": pyarrow.list_(pyarrow.struct(_columns(CLASS_FIELDS))),
        "error": pyarrow.string(),
    }
)

_NAMES = pyarrow.schema(
    {"position": pyarrow.int64(), "name": pyarrow.binary(), "path": pyarrow.binary(), "error": pyarrow.string()}
)


def predict(inputs: Iterable[Input], model: bytes, out: Path, top: int, threshold: float | None) -> tuple[int, int]:
    """Classify ``inputs`` and write Parquet files into the folder ``out``.

    Joins the cluster of ``$RAY_ADDRESS``, or starts Ray on this machine and stops it at the end.

    Returns:
        The number of inputs, and how many of them failed.

    Raises:
        CifarEdgeError: ``out`` is not empty, or the cluster fails.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CifarEdgeError(f"{display_name(out)} exists and is not an empty folder; give a new one")
    names = list(_names(inputs))
    if not names:
        return 0, 0
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for logger in ("ray", "ray.data"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.log_internal_stack_trace_to_stdout = False
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
        answers = ray.data.from_arrow(names).map_batches(
            Worker,
            fn_constructor_args=(model, top, threshold),
            batch_size=BLOCK,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(),  # as many workers as cores
            num_cpus=1,
        )
        answers.write_parquet(str(out.resolve()))
    except Exception as error:  # Ray's errors contain a worker's traceback, in many lines
        raise CifarEdgeError(f"Ray failed: {str(error).strip().splitlines()[-1]}") from error
    finally:
        ray.shutdown()
    found = pyarrow.dataset.dataset(out)
    return found.count_rows(), found.count_rows(filter=pyarrow.dataset.field("error").is_valid())


class Worker:
    """A worker process, which classifies the images of a table one after the other on one core."""

    def __init__(self, model: bytes, top: int, threshold: float | None) -> None:
        silence_pillow()
        self._classifier, self._top, self._threshold = Classifier(model), top, threshold

    def __call__(self, table: Any) -> Any:
        """The predictions for a table of `_NAMES`, in the columns of `SCHEMA`."""
        lines = table.to_pylist()
        answers = self._classifier.answers(map(_input, lines), workers=1)
        model = self._classifier.metadata.identity
        rows = [
            {"position": line["position"]} | record(given.name, answer, model, self._top, self._threshold)
            for line, (given, answer) in zip(lines, answers, strict=True)
        ]
        return pyarrow.Table.from_pylist(rows, SCHEMA)


def _names(inputs: Iterable[Input]) -> Iterator[Any]:
    """Tables of `BLOCK` inputs each."""
    numbered = enumerate(inputs)
    while block := list(islice(numbered, BLOCK)):
        lines = [
            {
                "position": position,
                "name": os.fsencode(given.name),
                "path": os.fsencode(Path(given.name).absolute()),
                "error": str(given.source) if isinstance(given.source, ImageError) else None,
            }
            for position, given in block
        ]
        yield pyarrow.Table.from_pylist(lines, _NAMES)


def _input(line: dict[str, Any]) -> Input:
    error = line["error"]
    return Input(os.fsdecode(line["name"]), os.fsdecode(line["path"]) if error is None else ImageError(error))
