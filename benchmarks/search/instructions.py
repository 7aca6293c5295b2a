"""Instructions that onnxruntime executes for one image where there is AVX2 alone, counted on any x86-64 processor.

valgrind shows a program a processor with AVX2 and without AVX-512 and VNNI, so onnxruntime takes its kernels for that.
Instructions are not time, but nothing else on the machine changes them; docs/search.md compares the two.
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from cifar_edge.errors import CannotRun

_PROGRAM = Path(__file__).with_name("counted.py")
_FEW, _MANY = 5, 45


def count(models: Mapping[str, bytes]) -> dict[str, float]:
    """Instructions for one image, by the names of ``models``, which are ``.onnx`` files.

    Raises:
        CannotRun: valgrind is not installed, or fails.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = {folder / f"{index}.onnx": model for index, model in enumerate(models)}
        for file, model in files.items():
            file.write_bytes(models[model])
        valgrind = ["valgrind", "-q", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={folder}/%p"]
        command = [*valgrind, sys.executable, str(_PROGRAM), str(_FEW), str(_MANY), *map(str, files)]
        try:
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise CannotRun(f"instructions are counted by valgrind: {error}") from error
        totals: dict[tuple[str, int], int] = {}
        for line in said.splitlines():
            process, runs, path = line.split(maxsplit=2)
            totals[files[Path(path)], int(runs)] = _total(folder / process)
    return {model: (totals[model, _MANY] - totals[model, _FEW]) / (_MANY - _FEW) for model in models}


def _total(report: Path) -> int:
    """The instructions of a process, by the last line of its report."""
    return int(report.read_text().splitlines()[-1].removeprefix("summary:"))
