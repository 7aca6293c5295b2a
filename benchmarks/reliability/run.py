"""Inputs through the real code, in processes of bounded memory and time, and what became of each."""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

MEMORY_BYTES = 4 << 30
"""Address space of a process; one that wants more fails."""

CPU_SECONDS = 300
"""Of a process, which gets at most `INPUTS` inputs; one that wants more is ended, and counts as crashed."""

INPUTS = 1000

MODEL = "gn-cnn"
PICTURES = ["-c", "from cifar_edge.cli.main import main; main()", "predict", "--jsonl", "--workers", "1"]
PICTURES += ["--model", MODEL, "--from-file", "-"]
"""The command itself."""

MODELS = [str(Path(__file__).with_name("models.py"))]
"""A process that takes every input for a model."""


@dataclass
class Outcome:
    """What became of inputs.

    Attributes:
        inputs: how many there were.
        classified: how many have an answer.
        refused: how many have an error of one line.
        crashed: the inputs at which a process ended before its time.
        noise: whatever else was printed: tracebacks, warnings of libraries, errors of several lines.
        slowest_seconds: the longest wait between two answers.
        peak_bytes: the most physical memory that a process held.
    """

    inputs: int = 0
    classified: int = 0
    refused: int = 0
    crashed: list[bytes] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0
    peak_bytes: int = 0


def run(program: list[str], contents: Sequence[bytes]) -> Outcome:
    """Give ``contents`` as files to ``program``; after a crash it is started again behind the input that did it."""
    outcome = Outcome(inputs=len(contents))
    for first in range(0, len(contents), INPUTS):
        part = contents[first : first + INPUTS]
        with tempfile.TemporaryDirectory() as folder:
            for number, content in enumerate(part):
                Path(folder, str(number)).write_bytes(content)
            start = 0
            while start < len(part):
                start += _process(program, folder, range(start, len(part)), outcome)
                if start < len(part):
                    outcome.crashed.append(part[start])
                    start += 1
    return outcome


def _process(program: list[str], folder: str, numbers: range, outcome: Outcome) -> int:
    """Give the files ``numbers`` to one process; how many it answered."""
    answered = 0
    with tempfile.TemporaryFile() as listed, tempfile.TemporaryFile() as errors:
        listed.write("".join(f"{number}\n" for number in numbers).encode())
        listed.seek(0)
        process = subprocess.Popen(
            [sys.executable, *program],
            cwd=folder,
            stdin=listed,
            stdout=subprocess.PIPE,
            stderr=errors,
            preexec_fn=_limit,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)},
        )
        assert process.stdout is not None
        before: float | None = None
        for line in process.stdout:
            now = perf_counter()
            outcome.slowest_seconds = max(outcome.slowest_seconds, now - (before or now))
            before = now
            error = json.loads(line).get("error")
            answered += 1
            if error is None:
                outcome.classified += 1
            elif error.isprintable() and len(error) < 1000:
                outcome.refused += 1
            else:
                outcome.noise.append(error)
            outcome.peak_bytes = max(outcome.peak_bytes, _peak(process.pid))
        process.stdout.close()
        process.wait()
        errors.seek(0)
        lines = errors.read().decode(errors="replace").splitlines()
        outcome.noise += [line for line in lines if not line.startswith(("model: ", "Error: "))]
    return answered


def _peak(process: int) -> int:
    """The most memory a process held until now; 0 if it has ended. Rusage would count what its parent held."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
