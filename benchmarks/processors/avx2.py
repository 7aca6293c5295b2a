"""Run a command as on an x86 processor with AVX2 alone, at full speed, on one that has AVX-512, VNNI or AMX.

    python -m benchmarks.processors.avx2 cifar-edge benchmark gn-cnn gn-cnn-max

The command and all that it starts see a processor without those extensions, so that onnxruntime, LiteRT and C compiled
here choose the kernels that they choose on such a processor (without_vnni.c). What is timed is those kernels on this
processor: others with AVX2 have other clocks, caches and units. It needs Linux, a processor with the flag
``cpuid_fault`` in /proc/cpuinfo, as Intel's have it, and a C compiler.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("without_vnni.c")


def is_possible() -> bool:
    """Whether this processor, kernel and compiler can do it."""
    try:
        return run([sys.executable, "-c", ""], stderr=subprocess.DEVNULL) == 0
    except (OSError, subprocess.CalledProcessError):
        return False


def run(command: list[str], stderr: int | None = None) -> int:
    """Run ``command`` as on a processor with AVX2 alone; returns its exit code, 128 and more after a signal.

    Raises:
        OSError: there is no such command, or no C compiler.
        subprocess.CalledProcessError: the library cannot be compiled, as on another kind of processor.
    """
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "without_vnni.so")
        compiler = [os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
        subprocess.run(compiler, check=True, stderr=stderr)
        environment = os.environ | {"LD_PRELOAD": str(library)}
        status = subprocess.run(command, env=environment, stderr=stderr).returncode
    return 128 - status if status < 0 else status  # as shells add the number of a signal to 128


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("Usage: python -m benchmarks.processors.avx2 COMMAND...")
    try:
        sys.exit(run(sys.argv[1:]))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
    except subprocess.CalledProcessError:
        sys.exit("the library does not compile here: this is for Linux on x86-64")
