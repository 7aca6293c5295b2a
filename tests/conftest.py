"""Shared by all tests: one thread a process, none of the user's settings, and `cifar-edge` as a process of its own."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cifar_edge.data import Dataset, load_dataset
from cifar_edge.files import released

if TYPE_CHECKING:
    from cifar_edge.folding.network import FoldedNetwork

# Before torch is imported: two pytest processes on two cores, and sums that do not depend on the machine's cores.
os.environ["OMP_NUM_THREADS"] = "1"

CHECKOUT = Path(__file__).resolve().parent.parent
ENTRY_POINT = Path(sys.executable).parent / "cifar-edge"


def sums_in_16_bits() -> bool:
    """Whether this processor sums two products of int8 models in 16 bits, which saturate: x86 without VNNI.

    Torch asks the processor itself, which in an emulation is another one than /proc/cpuinfo tells of.
    """
    import torch

    has = torch.cpu.get_capabilities()
    return platform.machine() in {"x86_64", "AMD64"} and not (has["avx512_vnni"] or has["avx_vnni"])


def pytest_report_header() -> str:
    """Which of the two kinds of processor for int8 these tests saw."""
    return f"int8 sums in {'16 bits: x86 without VNNI' if sums_in_16_bits() else '32 bits'}"


RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def _no_user_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CIFAR_EDGE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def sample() -> Dataset:
    """The embedded sample of CIFAR-10."""
    return load_dataset("sample")


@pytest.fixture(scope="session")
def few(sample: Dataset) -> Dataset:
    """64 training and 10 test images of the sample: four steps of 16, for what needs no learning."""
    return replace(
        sample,
        train_images=sample.train_images[:64],
        train_labels=sample.train_labels[:64],
        test_images=sample.test_images[:10],
        test_labels=sample.test_labels[:10],
    )


@pytest.fixture(scope="module")
def folded() -> "FoldedNetwork":
    """The released gn-cnn with its norms folded."""
    from cifar_edge.training.checkpoint import load_network

    network = load_network(released("models/gn-cnn")).folded
    assert network is not None
    return network


@pytest.fixture(scope="session")
def image_files() -> list[Path]:
    """One test image of CIFAR-10 for each class, as a PNG named after it."""
    return sorted((CHECKOUT / "docs" / "images").glob("*.png"))


@pytest.fixture
def cifar_edge(tmp_path: Path) -> RunCommand:
    """Runs `cifar-edge ARGUMENTS` as installed, in an empty folder; stdout and stderr come back as text."""

    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([ENTRY_POINT, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    return run
