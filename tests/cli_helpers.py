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


def heavy_imports_of(statement: str, folder: Path) -> set[str]:
    """Which heavy packages a fresh interpreter holds after ``statement``."""
    program = f"import sys\n{statement}\nprint(*({HEAVY} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())
