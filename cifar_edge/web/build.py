"""Finds the built web page, without a model, in the wheel, or builds it once with npm.

The sources are in top-level ``web/``: TypeScript and a lock file. A released wheel contains the built page (`make
wheel`); a checkout, and a wheel built without npm, only the sources. Then npm builds the page into the user's cache, in
a folder named after the hash of the sources.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from cifar_edge.data.cache import cache_folder, locked
from cifar_edge.data.cifar10.npm import find_npm
from cifar_edge.errors import PageError
from cifar_edge.messages import display_name, reason
from cifar_edge.web.site import INDEX, WORKER

_PACKAGE = Path(__file__).resolve().parent.parent
_SOURCES_IN_WHEEL = _PACKAGE / "_web"
_PAGE_IN_WHEEL = _PACKAGE / "_page"
_SOURCES_IN_CHECKOUT = _PACKAGE.parent / "web"

_BUILD = "build-"
"""Prefix of the folders in which npm builds."""
_SCRIPT = "main.js"
_PARTS = ("src", "static", "build.mjs", "package.json", "package-lock.json", ".npmrc")
"""The parts of ``web/`` that the build reads; pyproject.toml lists the same for the wheel."""


def built_page(report: Callable[[str], object]) -> Path:
    """The folder of the built page. If npm has to build it first, ``report`` gets a line about that.

    Raises:
        PageError: the page was not built, and npm is missing or fails.
    """
    page = found_page()
    if page is None:
        npm = find_npm()
        if npm is None:
            raise PageError(
                "the page is built with npm, which is missing; install Node.js 20 or newer (https://nodejs.org), "
                "or a released wheel of cifar-edge, which contains the page"
            )
        report("building the page with npm, once: half a minute, 50 MB to download")
        page = cached_page()
        _build(npm, _sources(), page, report)
    return page


def found_page() -> Path | None:
    """The folder of the built page, in the wheel or in the cache; None if it was not built."""
    if _PAGE_IN_WHEEL.is_dir() and _SOURCES_IN_WHEEL.is_dir():
        return _PAGE_IN_WHEEL
    cached = cached_page()
    return cached if _is_whole(cached) else None


def cached_page() -> Path:
    """The folder in the cache where the page of these sources lies once it was built."""
    return cache_folder() / f"web-{_fingerprint(_sources())}"


def _is_whole(page: Path) -> bool:
    """Whether the folder of the page has its main files: somebody may have emptied the cache."""
    return all((page / name).is_file() for name in (INDEX, _SCRIPT, WORKER))


def _sources() -> Path:
    return _SOURCES_IN_WHEEL if _SOURCES_IN_WHEEL.is_dir() else _SOURCES_IN_CHECKOUT


def _fingerprint(sources: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for part in _PARTS for path in (sources / part, *(sources / part).rglob("*"))):
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(sources).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _build(npm: str, sources: Path, built: Path, report: Callable[[str], object]) -> None:
    """Build in a copy of the sources: npm leaves 200 MB of packages, and the folder of a wheel may be read-only."""
    folder = built.parent / "web"
    with locked(folder, lambda: report("another process is building it; waiting"), "or install a released wheel"):
        if _is_whole(built):
            return
        shutil.rmtree(built, ignore_errors=True)
        for leftover in folder.glob(f"{_BUILD}*"):  # left by processes that were killed
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            with tempfile.TemporaryDirectory(dir=folder, prefix=_BUILD) as temporary:
                work = Path(temporary)
                for part in _PARTS:
                    copy = shutil.copytree if (sources / part).is_dir() else shutil.copy
                    copy(sources / part, work / part)
                _run([npm, "ci", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"], work)
                _run([npm, "run", "build", "--loglevel=error"], work)
                (work / "dist").rename(built)
        except OSError as error:
            raise PageError(f"cannot build the page in {display_name(folder)}: {error.strerror or error}") from error


def _run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "NODE_ENV": "production", "NO_COLOR": "1"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        said = "\n".join(line for line in done.stderr.splitlines() if "npm warn" not in line)
        raise PageError(f"`{' '.join(['npm', *command[1:3]])}` failed: {reason(PageError(said))}")
