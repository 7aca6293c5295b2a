"""The commands, and which packages a fresh process imports."""

import subprocess
import sys
from pathlib import Path

COMMANDS = [
    "train",
    "runs",
    "fold",
    "export",
    "report",
    "predict",
    "evaluate",
    "benchmark",
    "serve",
    "web",
    "verify-c",
    "data",
    "summary",
    "info",
]
HEAVY = {
    "PIL",
    "matplotlib",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "rich",
    "safetensors",
    "starlette",
    "tensorboard",
    "torch",
    "torchvision",
    "uvicorn",
}


BASE_INSTALL = """
import sys
for name in ("torch", "onnx", "onnxscript", "safetensors", "matplotlib", "rich"):
    sys.modules[name] = None  # importing it fails
from cifar_edge.cli.main import main
main(sys.argv[1:])
"""


def run_in_base_install(*arguments: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """A command in a process that finds the packages of the base install alone."""
    command = [sys.executable, "-c", BASE_INSTALL, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def heavy_imports_of(statement: str, folder: Path) -> set[str]:
    """Which heavy packages a fresh interpreter holds after ``statement``."""
    program = f"import sys\n{statement}\nprint(*({HEAVY} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())
