"""The product as a person runs it: a copy of a checkout in a folder of its own, and its commands as processes."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.freeze.masks import masked

NEEDED = ("cifar_edge", "models", "export", "pyproject.toml", "README.md")
"""What is copied of a checkout. Without ``web``, so that no page is built."""

CACHED_DATA = Path("~/.cache/cifar-edge/cifar10.npz")
LIMIT_SECONDS = 600


@dataclass(frozen=True)
class Product:
    """A copy of a checkout, and a home that nothing else uses.

    The copy lies in a folder whose name always has the same length, so that lines are wrapped at the same places.
    Changes of the checkout during the recording do not reach it.
    """

    area: Path

    @property
    def checkout(self) -> Path:
        """The copy."""
        return self.area / "checkout"

    def renew_home(self) -> None:
        """Empty the home and its caches, CIFAR-10 apart: what one part computed is not there for the next."""
        cache = self.folder("home") / ".cache/cifar-edge"
        cache.mkdir(parents=True)
        (cache / "cifar10.npz").symlink_to(CACHED_DATA.expanduser())

    def environment(self) -> dict[str, str]:
        """Nothing of the caller's but the search path; the caches are new but for CIFAR-10."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.area / "home"),
            "XDG_CACHE_HOME": str(self.area / "home/.cache"),
            "MPLCONFIGDIR": str(Path("~/.cache/matplotlib").expanduser()),
            "PYTHONPATH": str(self.checkout),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "80",
            "NO_COLOR": "1",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        }

    def folder(self, name: str) -> Path:
        """A new, empty working directory."""
        path = self.area / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def python(
        self,
        arguments: Sequence[str | Path],
        folder: Path,
        stdin: bytes = b"",
        variables: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[bytes]":
        """Python with the copy on its path, started in ``folder``."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env={**self.environment(), **(variables or {})},
            input=stdin,
            capture_output=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )

    def command(self, line: str, folder: Path) -> str:
        """What ``cifar-edge LINE`` answers, masked: exit code, stdout, stderr, and the files that it made or removed.

        The line may begin with variables, ``NAME=value``, and end with ``< FILE``, as in a shell.
        """
        words = shlex.split(line)
        stdin = b""
        if "<" in words:
            stdin = (folder / words[-1]).read_bytes()
            words = words[: words.index("<")]
        variables = {}
        while words and "=" in words[0]:
            name, _, variables[name] = words.pop(0).partition("=")
        before = _files(folder)
        done = self.python(["-m", "cifar_edge", *words], folder, stdin, variables)
        after = _files(folder)
        changes = [f"+ {name}" for name in sorted(after - before)] + [f"- {name}" for name in sorted(before - after)]
        streams = (("stdout", done.stdout), ("stderr", done.stderr))
        parts = [f"$ cifar-edge {line}\nexit code {done.returncode}\n"]
        parts += [f"--- {name}\n{content.decode(errors='backslashreplace')}\n" for name, content in streams if content]
        parts += ["--- files\n" + "".join(f"{change}\n" for change in changes)] if changes else []
        return masked("".join(parts), self.area)

    def need(self, line: str, folder: Path) -> str:
        """`command`, for what the other records are made of.

        Raises:
            RuntimeError: it failed; the message is its answer.
        """
        answer = self.command(line, folder)
        if "\nexit code 0\n" not in answer:
            raise RuntimeError(answer)
        return answer


@contextmanager
def product(checkout: Path) -> Iterator[Product]:
    """A copy of ``checkout``, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="cifar-edge-freeze-", dir="/tmp") as area:
        this = Product(Path(area))
        this.checkout.mkdir()
        for name in NEEDED:
            source, target = checkout / name, this.checkout / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "_page"))
            else:
                shutil.copy(source, target)
        this.renew_home()
        yield this


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
