"""The gate of the target ``c``: its files are compiled here, and run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from cifar_edge.c.kernels import GENERIC, KERNELS
from cifar_edge.c.sources import filled
from cifar_edge.errors import CannotRun, GateFailed

_SECONDS = 600
_COMPILERS = ("cc", "gcc", "clang", "zig")


def run(files: Mapping[str, bytes], images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """The int32 logits that the C computes, compiled with each set of kernels that this processor runs.

    Args:
        files: as `cifar_edge.c.write` returns them.
        images: uint8 ``[n, size, size, 3]``.

    Raises:
        CannotRun: there is no C compiler.
        GateFailed: the compiler or the program fails, or two sets of kernels differ.
    """
    command = compiler()
    if command is None:
        raise CannotRun("there is no C compiler; install gcc or clang, name one in CC, or pip install ziglang")
    answers: dict[str, npt.NDArray[np.int32]] = {}
    with TemporaryDirectory() as folder:
        sources = write_sources(files, Path(folder))
        for name, flags in variants(files).items():
            program = build(command, sources, Path(folder) / name, flags)
            answers[name] = logits_of(program, images)
    for name, logits in answers.items():
        if not np.array_equal(logits, answers[GENERIC]):
            raise GateFailed(f"the kernels {name} of the target c give other logits than plain C; nothing was written")
    return answers[GENERIC]


def compiler() -> list[str] | None:
    """The command of a C compiler: ``$CC``, or the first one found."""
    if given := os.environ.get("CC", "").split():
        return given
    for name in _COMPILERS:
        if path := shutil.which(name):
            return [path, "cc"] if name == "zig" else [path]
    return [sys.executable, "-m", "ziglang", "cc"] if find_spec("ziglang") else None


def variants(files: Mapping[str, bytes]) -> dict[str, tuple[str, ...]]:
    """The sets of kernels in ``files`` that this processor runs: name -> options of the compiler."""
    found: dict[str, tuple[str, ...]] = {GENERIC: (f"-D{prefix_of(files).upper()}_GENERIC",)}
    try:
        processor = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        processor = set()
    for name, kernels in KERNELS.items():
        if kernels.runs_on in processor and any(file.endswith(f"_{kernels.template}") for file in files):
            found[name] = kernels.flags
    return found


def prefix_of(files: Mapping[str, bytes]) -> str:
    """The prefix of the names in C."""
    return min((Path(name).stem for name in files if name.endswith(".h") and f"{name[:-2]}.c" in files), key=len)


def write_sources(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write ``files`` and the main program of the gate into ``folder``; returns what is to be compiled."""
    prefix = prefix_of(files)
    (source,) = (folder / name for name in files if Path(name).name == f"{prefix}.c")
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(content)
    main = source.with_name("gate_main.c")
    main.write_text(filled("gate.c", {}, prefix))
    return [source, main]


def build(command: Sequence[str], sources: Sequence[Path], program: Path, flags: Sequence[str]) -> Path:
    """Compile ``sources`` to ``program``.

    Raises:
        GateFailed: the compiler fails.
    """
    try:
        compile_c([*command, "-std=c99", "-O2", *flags, "-o", str(program), *map(str, sources)])
    except CannotRun as error:
        raise GateFailed(f"{error}; nothing was written") from error
    return program


def compile_c(line: Sequence[str], folder: Path | None = None) -> None:
    """Run the command ``line`` of a C compiler in ``folder``, by default the current one.

    Raises:
        CannotRun: it cannot be started, takes too long, or fails; the message has its first error.
    """
    try:
        done = subprocess.run(line, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotRun(f"the C compiler {line[0]} fails: {error}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it says nothing"]
        first = next((text for text in said if "error" in text), said[0])
        raise CannotRun(f"the C compiler {line[0]} fails: {first.strip()}")


def logits_of(program: Path, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """What ``program`` answers for ``images``.

    Raises:
        GateFailed: it fails.
    """
    content = np.ascontiguousarray(images).tobytes()
    try:
        done = subprocess.run([str(program)], input=content, capture_output=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GateFailed(f"the compiled C does not run: {error}; nothing was written") from error
    if done.returncode:
        raise GateFailed(f"the compiled C ends with exit code {done.returncode}; nothing was written")
    logits = np.frombuffer(done.stdout[: len(done.stdout) // 4 * 4], np.int32)
    if not logits.size or logits.size % len(images):
        raise GateFailed(f"the compiled C answers with {len(done.stdout):,} bytes; nothing was written")
    return logits.reshape(len(images), -1)
