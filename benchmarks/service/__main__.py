"""The service under load, beside the same model behind a plain FastAPI handler: latency, images a second, memory.

    pip install -c constraints.txt '.[serve,bench]'
    python -m benchmarks.service

Needs wrk (https://github.com/wg/wrk; Debian and Ubuntu: apt install wrk). All services run at once, each in a process
of its own, and take turns at being asked: wrk posts one image again and again over kept connections. Load and services
share the machine, and perhaps other work does too; what that disturbs least is the processor time that an image takes.

Memory is that of one more process of each, before and after ``--requests`` requests by ``--connections`` connections;
before means after a thousand. Needs Linux, for its /proc.

Prints the table of docs/serve.md and writes benchmarks/service/results.csv.
"""

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.error import URLError
from urllib.request import urlopen

import click
from PIL import Image

from benchmarks import results_file
from cifar_edge.errors import CifarEdgeError
from cifar_edge.measure.timing import machine

RESULTS = Path(__file__).with_name("results.csv")
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
WARM_UP = 1000
"""Requests before anything is measured."""

_SCRIPT = """
local function read(path) local file = io.open(path, "rb"); local all = file:read("*a"); file:close(); return all end
wrk.method, wrk.body = "POST", read("{body}")
wrk.headers["Content-Type"] = "{content_type}"
function done(summary, latency)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  print(string.format("RESULT %d %d %d %d %d", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), bad))
end
"""
"""For wrk: times in microseconds; answers other than 2xx and 3xx count as bad."""


@dataclass(frozen=True)
class Result:
    """One service under one load.

    Attributes:
        service: its name.
        load: what is posted, and over how many connections.
        p50_ms: median latency, as wrk sees it; the median over the rounds.
        p99_ms: its 99th percentile, likewise.
        images_per_second: the median over the rounds.
        cpu_us: processor time of the service an image, in microseconds; the median over the rounds.
        ratio: of ``cpu_us`` to that of ours.
        rss_before_mb: physical memory before ``requests`` requests, in megabytes; None where it was not measured.
        rss_after_mb: after them.
        requests: how many.
        machine: where.
    """

    service: str
    load: str
    p50_ms: float
    p99_ms: float
    images_per_second: int
    cpu_us: int
    ratio: float
    rss_before_mb: float | None
    rss_after_mb: float | None
    requests: int | None
    machine: str


@dataclass(frozen=True)
class Run:
    """What wrk says of one run, and the processor time that the service took for it."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float


@dataclass(frozen=True)
class Served:
    """A service that runs."""

    process_id: int
    port: int

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far, of user and system."""
        fields = Path(f"/proc/{self.process_id}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident_mb(self) -> float:
        """Physical memory, in megabytes."""
        lines = Path(f"/proc/{self.process_id}/status").read_text().splitlines()
        return round(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024, 1)


def services() -> Mapping[str, list[str]]:
    """Name -> command that serves at the port that is appended; ours is the first."""
    plain = [sys.executable, str(Path(__file__).resolve().with_name("plain.py"))]
    return {
        "cifar-edge serve": [sys.executable, "-c", _OURS, "serve", "gn-cnn", "--quiet", "--port"],
        "FastAPI, h11": [*plain, "h11"],
        "FastAPI, httptools": [*plain, "httptools"],
    }


_OURS = "from cifar_edge.cli.main import main; main()"


def loads() -> Mapping[str, tuple[bytes, str, int]]:
    """Name -> body, its content type, connections."""
    small, photo = (IMAGES / "cat.png").read_bytes(), _photo()
    return {
        "32x32 PNG, 1 connection": (small, "image/png", 1),
        "32x32 PNG, 32 connections": (small, "image/png", 32),
        "1280x960 JPEG, 8 connections": (photo, "image/jpeg", 8),
    }


def _photo() -> bytes:
    """A JPEG of the size that a camera's preview has."""
    file = io.BytesIO()
    with Image.open(IMAGES / "cat.png") as image:
        image.resize((1280, 960), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Turns of each service.")
@click.option("--seconds", default=5, show_default=True, type=click.IntRange(1), help="Length of a turn.")
@click.option("--requests", default=100_000, show_default=True, type=click.IntRange(1), help="Requests for memory.")
@click.option("--connections", default=32, show_default=True, type=click.IntRange(1), help="Connections for memory.")
def main(rounds: int, seconds: int, requests: int, connections: int) -> None:
    """Measure, print the table, write the CSV file."""
    if shutil.which("wrk") is None:
        raise click.ClickException("there is no wrk on the PATH; apt install wrk")
    runs: dict[tuple[str, str], list[Run]] = {}
    with running() as all_served:
        for load in loads():
            for served in all_served.values():
                wrk(served, load, 1)
            for _ in range(rounds):
                for name, served in all_served.items():
                    runs.setdefault((name, load), []).append(wrk(served, load, seconds))
    memories = {name: memory(name, requests, connections) for name in services()}
    results = [_result(name, load, runs, memories, requests) for name, load in runs]
    try:
        results_file.write(RESULTS, Result, results)
    except CifarEdgeError as error:
        raise click.ClickException(str(error)) from error
    click.echo(table(results))


def _result(
    name: str,
    load: str,
    runs: Mapping[tuple[str, str], list[Run]],
    memories: Mapping[str, tuple[float, float]],
    requests: int,
) -> Result:
    cpu, ours = (
        median(run.cpu_seconds / run.requests for run in runs[each, load]) for each in (name, next(iter(services())))
    )
    measured = "32 connections" in load
    before, after = memories[name] if measured else (None, None)
    return Result(
        service=name,
        load=load,
        p50_ms=round(median(run.p50_ms for run in runs[name, load]), 2),
        p99_ms=round(median(run.p99_ms for run in runs[name, load]), 2),
        images_per_second=round(median(run.requests / run.seconds for run in runs[name, load])),
        cpu_us=round(cpu * 1e6),
        ratio=round(cpu / ours, 2),
        rss_before_mb=before,
        rss_after_mb=after,
        requests=requests if measured else None,
        machine=machine(),
    )


@contextmanager
def running() -> Iterator[dict[str, Served]]:
    """All services, until the context ends."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(process(name)) for name in services()}


@contextmanager
def process(name: str) -> Iterator[Served]:
    """One service, ready, until the context ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([*services()[name], str(port)], stderr=subprocess.DEVNULL) as running:
        try:
            _wait(port)
            yield Served(running.pid, port)
        finally:
            running.terminate()


def _wait(port: int) -> None:
    for _ in range(300):
        try:
            with urlopen(f"http://127.0.0.1:{port}/openapi.json"):
                return
        except URLError:
            time.sleep(0.1)
    raise click.ClickException(f"the service at port {port} does not start")


def wrk(served: Served, load: str, seconds: int, connections: int | None = None) -> Run:
    """Post the load's body for ``seconds``."""
    body, content_type, usual = loads()[load]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "body").write_bytes(body)
        script = Path(folder) / "script.lua"
        script.write_text(_SCRIPT.replace("{body}", f"{folder}/body").replace("{content_type}", content_type))
        command = ["wrk", "-t", "1", "-c", str(connections or usual), "-d", f"{seconds}s", "--timeout", "30s"]
        command += ["-s", str(script), f"http://127.0.0.1:{served.port}/v1/predict"]
        before = served.cpu_seconds
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        cpu_seconds = served.cpu_seconds - before
    match = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if match is None or int(match[5]) or not int(match[1]):
        raise click.ClickException(f"wrk says:\n{done.stdout}{done.stderr}")
    requests, microseconds, p50, p99 = (int(value) for value in match.groups()[:4])
    return Run(requests, microseconds / 1e6, p50 / 1000, p99 / 1000, cpu_seconds)


def memory(name: str, requests: int, connections: int) -> tuple[float, float]:
    """Physical memory of a fresh service after `WARM_UP` requests, and after at least ``requests`` more, in MB."""
    load = next(iter(loads()))
    with process(name) as served:
        _ask(served, load, WARM_UP, connections)
        before = served.resident_mb
        _ask(served, load, requests, connections)
        return before, served.resident_mb


def _ask(served: Served, load: str, requests: int, connections: int) -> None:
    while requests > 0:
        requests -= wrk(served, load, 2 if requests <= WARM_UP else 10, connections).requests


def table(results: list[Result]) -> str:
    """The results as Markdown."""
    lines = [
        "| load | service | p50 | p99 | images/s | processor | ratio | memory before | after |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for load in dict.fromkeys(result.load for result in results):
        for result in results:
            if result.load == load:
                memories = [
                    "" if value is None else f"{value:.1f} MB" for value in (result.rss_before_mb, result.rss_after_mb)
                ]
                latencies = f"{result.p50_ms:.2f} ms | {result.p99_ms:.2f} ms"
                lines.append(
                    f"| {load} | {result.service} | {latencies} | {result.images_per_second:,} | "
                    f"{result.cpu_us:,} us | {result.ratio:.2f} | {memories[0]} | {memories[1]} |"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
