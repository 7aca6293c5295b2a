"""Reads the ``report.json`` of an export, as far as a report shows it; the file may be of an earlier version."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar_edge.errors import ModelError
from cifar_edge.json_values import count, mapping, number, text
from cifar_edge.measure.metrics import Estimate
from cifar_edge.runs.exports import REPORT
from cifar_edge.runs.reading import record_in

RAM, FLASH = ("state_bytes", "arena_bytes"), ("flash_bytes",)
"""Keys of the figures of a target: bytes of RAM for an image, and bytes of flash."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Latency of one image, and throughput at a large batch, with one thread."""

    p50_seconds: float
    p99_seconds: float
    images_per_second: float


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph in ONNX that was judged; for the fields see `cifar_edge.export.report.Row`.

    Attributes:
        drop: accuracy of the network as trained less that of this graph, on the same images.
        rounding: the same of int8 against the network that it was made of; None for other graphs.
        not_sure: the threshold on the largest logit, and the share of the test images that it keeps; None without one.
    """

    name: str
    precision: str
    file: str | None
    size: int
    accuracy: Estimate
    drop: Estimate
    agreement: float
    rounding: Estimate | None
    verdict: str
    speed: Speed
    not_sure: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Gate:
    """How one program that reads the files of a target compares with int8.

    Attributes:
        runner: name of the program.
        exact: whether it has to give the same logits, bit for bit.
        images: number of images compared.
        agreement: share of them that keep their class; None if nothing was compared.
        not_compared: why nothing was compared; empty if it was.
    """

    runner: str
    exact: bool
    images: int
    agreement: float | None
    not_compared: str


@dataclass(frozen=True, slots=True)
class OtherTarget:
    """A target other than ONNX.

    Attributes:
        name: of the target.
        files: the names of its files, and of the folders of those that lie in one.
        gates: one for each program.
        ram: bytes for an image on a device; None if the target does not say.
        flash: bytes on a device; None if the target does not say.
        speed: on the machine of the export; None if it was not timed.
    """

    name: str
    files: tuple[str, ...]
    gates: tuple[Gate, ...]
    ram: int | None
    flash: int | None
    speed: Speed | None


@dataclass(frozen=True, slots=True)
class Exported:
    """An export; for the fields see `cifar_edge.export.report.Report`."""

    created: str
    graphs: tuple[Graph, ...]
    max_drop: float
    data: str
    machine: str
    deploy: str
    reason: str
    targets: tuple[OtherTarget, ...]

    @property
    def int8(self) -> Graph | None:
        """The graph in int8, if there is one."""
        return next((graph for graph in self.graphs if graph.precision == "int8"), None)


def read_exported(folder: Path) -> Exported | None:
    """The export in ``folder``; None if there is none.

    Raises:
        ModelError: its report is damaged.
    """
    path = folder / REPORT
    if not path.is_file():
        return None
    record = record_in(path)
    try:
        return Exported(
            created=text(record["created"]),
            graphs=tuple(map(_graph, _list(record["rows"]))),
            max_drop=number(record["max_drop"], low=-100.0),
            data=text(record["data"]),
            machine=text(record["machine"]),
            deploy=text(record["deploy"]),
            reason=text(record["reason"]),
            targets=tuple(_targets(record)),
        )
    except KeyError as error:
        raise ModelError(f"{path} is damaged: it lacks {error}; export again") from error
    except ValueError as error:
        raise ModelError(f"{path} is damaged: {error}; export again") from error


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{str(value)[:40]!r} is not a list")
    return value


def _estimate(value: object) -> Estimate:
    record = mapping(value)
    value, low, high = (number(record[name], -1.0, 1.0) for name in ("value", "low", "high"))
    return Estimate(value, low, high, count(record["images"]))


def _speed(value: object) -> Speed:
    record = mapping(value)
    return Speed(*(number(record[name]) for name in ("p50_seconds", "p99_seconds", "images_per_second")))


def _graph(value: object) -> Graph:
    record = mapping(value)
    comparison = mapping(record["comparison"])
    rounding, file = record.get("rounding"), record["file"]
    return Graph(
        name=text(record["name"]),
        precision=text(record["precision"], ("fp32", "int8")),
        file=None if file is None else text(file),
        size=count(record["size"]),
        accuracy=_estimate(record["accuracy"]),
        drop=_estimate(comparison["drop"]),
        agreement=number(comparison["agreement"], high=1.0),
        rounding=None if rounding is None else _estimate(mapping(rounding)["drop"]),
        verdict=text(record["verdict"]),
        speed=_speed(record["timing"]),
        not_sure=_not_sure(record.get("threshold")),
    )


def _not_sure(value: object) -> tuple[float, float] | None:
    if value is None or (threshold := mapping(value)["threshold"]) is None:
        return None
    own = mapping(mapping(mapping(value)["unknown"])["own"])
    return number(threshold, low=-1e30), number(own["kept"], high=1.0)


def _targets(record: Mapping[str, Any]) -> list[OtherTarget]:
    files = mapping(record.get("targets", {}))
    return [_target(name, gate, files.get(name, [])) for name, gate in mapping(record.get("target_gates", {})).items()]


def _target(name: str, value: object, files: object) -> OtherTarget:
    record = mapping(value)
    figures = mapping(record["figures"])
    timing = record.get("timing")
    tops = (text(file).partition("/") for file in _list(files))
    return OtherTarget(
        name=name,
        files=tuple(dict.fromkeys(folder + slash for folder, slash, _ in tops)),
        gates=tuple(map(_gate, _list(record["outcomes"]))),
        ram=_first(figures, RAM),
        flash=_first(figures, FLASH),
        speed=None if timing is None else _speed(timing),
    )


def _first(figures: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((count(figures[name]) for name in names if name in figures), None)


def _gate(value: object) -> Gate:
    record = mapping(value)
    agreement, why = record["agreement"], record.get("not_compared")
    return Gate(
        runner=text(record["runner"]),
        exact=bool(record["exact"]),
        images=count(record["images"]),
        agreement=None if agreement is None else number(agreement, high=1.0),
        not_compared="" if why is None else text(why),
    )
