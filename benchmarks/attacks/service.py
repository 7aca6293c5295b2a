"""Strangers who connect and say nothing, or read nothing: what is left of the service for everybody else.

    cifar-edge web --out site     # once: it builds the page that slow readers ask for
    python -m benchmarks.attacks.service

Each attack is on a service of its own, at a free port of this machine, with as many open files as ``ulimit -n`` would
allow it; nothing else is touched, and after half a minute all of it is over. While the strangers hold their
connections, someone asks for /healthz, and someone for the class of a picture, each on a new connection; then the
service is told to stop. Needs Linux or macOS, and about 2,200 open files for the strangers' ends.

Prints the table of docs/serve.md; the exit code is 1 if a question went unanswered or the log grew.
"""

import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import click

from cifar_edge.web.build import found_page

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "images" / "cat.png"
QUESTIONS = 10
"""How often each question is asked."""
PATIENCE = 5.0
"""Seconds after which a question counts as unanswered."""
LONGEST_LOG = 10_000
"""Bytes of a log that has not grown: a line for each question and each reader would be more."""

_SERVE = "from cifar_edge.cli.main import main; main()"
_WASM = b"GET /ort-wasm-simd-threaded.wasm HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True)
class Attack:
    """Connections that are held.

    Attributes:
        soft: files that the service may open, unless it raises that itself.
        hard: as far as it may; None for as far as this process may.
        readers: connections that ask for the largest file of the page, and read nothing.
        idle: connections that say nothing.
    """

    soft: int
    hard: int | None
    readers: int
    idle: int

    def __str__(self) -> str:
        limit = f"{self.soft:,} files" if self.hard else f"{self.soft:,} files, which may be raised"
        return f"{self.readers:,} slow readers, {self.idle:,} idle; {limit}"


ATTACKS = (
    Attack(soft=1024, hard=1024, readers=0, idle=1100),
    Attack(soft=1024, hard=None, readers=500, idle=1600),
    Attack(soft=1024, hard=1024, readers=600, idle=600),
)


@dataclass(frozen=True)
class Result:
    """What came of an attack.

    Attributes:
        health: how ``GET /healthz`` was answered: status -> how often; ``-`` is not at all.
        predict: how ``POST /v1/predict`` was.
        slowest: seconds, of all that were answered; 0 if none was.
        log: bytes.
        stop: seconds from SIGTERM to the end of the process.
    """

    health: Counter[str]
    predict: Counter[str]
    slowest: float
    log: int
    stop: float

    @property
    def stood(self) -> bool:
        """Whether everybody was answered, and the log has not grown."""
        return set(self.health) == {"200"} and set(self.predict) <= {"200", "503"} and self.log <= LONGEST_LOG


@click.command()
def main() -> None:
    """Attack, and print the table."""
    if found_page() is None:
        raise click.ClickException("the page is not built; `cifar-edge web --out DIR` builds it")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 4096, hard))
    click.echo("| attack | /healthz | /v1/predict | slowest answer | log | SIGTERM to end |")
    click.echo("|---|---|---|--:|--:|--:|")
    stood = True
    for attack in ATTACKS:
        result = attacked(attack)
        stood &= result.stood
        answers = f"{_counted(result.health)} | {_counted(result.predict)}"
        click.echo(f"| {attack} | {answers} | {result.slowest:.2f} s | {result.log:,} bytes | {result.stop:.1f} s |")
    sys.exit(not stood)


def attacked(attack: Attack) -> Result:
    """Start a service, attack it, ask it, stop it."""
    with ExitStack() as stack:
        log = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "log"
        running, port = stack.enter_context(_service(attack, log))
        strangers = [stack.enter_context(_connected(port)) for _ in range(attack.readers + attack.idle)]
        for reader in strangers[: attack.readers]:
            _try_to_send(reader, _WASM)
        health, predict = Counter[str](), Counter[str]()
        slowest = 0.0
        for _ in range(QUESTIONS):
            for counted, method, path in ((health, "GET", "/healthz"), (predict, "POST", "/v1/predict")):
                status, seconds = _ask(port, method, path)
                counted[status] += 1
                slowest = max(slowest, seconds)
        start = time.monotonic()
        running.send_signal(signal.SIGTERM)
        running.wait(100)
        return Result(health, predict, slowest, log.stat().st_size, time.monotonic() - start)


@contextmanager
def _service(attack: Attack, log: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = (attack.soft, attack.hard or hard)
    command = [sys.executable, "-c", _SERVE, "serve", "gn-cnn", "--quiet", "--port", "0"]
    with (
        log.open("wb") as file,
        subprocess.Popen(
            command, stderr=file, preexec_fn=partial(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        ) as running,
    ):
        try:
            while not (match := re.search(r":(\d+); Ctrl", log.read_text())):
                if running.poll() is not None:
                    raise click.ClickException(f"the service does not start: {log.read_text()}")
                time.sleep(0.05)
            yield running, int(match[1])
        finally:
            running.kill()


def _connected(port: int) -> socket.socket:
    stranger = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    stranger.setblocking(False)
    return stranger


def _try_to_send(stranger: socket.socket, request: bytes) -> None:
    try:
        stranger.send(request)
    except OSError:
        return  # the service has closed the connection


def _ask(port: int, method: str, path: str) -> tuple[str, float]:
    """The status of the answer, or ``-``; and the seconds that it took, 0 for none."""
    start = time.monotonic()
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        body = PICTURE.read_bytes() if method == "POST" else None
        connection.request(method, path, body, {"Content-Type": "image/png"} if body else {})
        response = connection.getresponse()
        response.read()
        return str(response.status), time.monotonic() - start
    except (OSError, HTTPException):
        return "-", 0.0
    finally:
        connection.close()


def _counted(statuses: Counter[str]) -> str:
    return ", ".join(f"{number} times {status}" for status, number in sorted(statuses.items()))


if __name__ == "__main__":
    main()
