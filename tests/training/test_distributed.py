"""Two processes under torchrun train as one does."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import CHECKOUT

from cifar_edge.data import Dataset
from cifar_edge.errors import TrainingError
from cifar_edge.models import default_recipe
from cifar_edge.training.distributed import Worker
from cifar_edge.training.run import train

SETTINGS = ["epochs=2", "fold.epochs=1", "batch_size=100", "mixup=0.2", "precision=fp32"]
SETTINGS += ["teacher=gn-cnn", "augmented_copies=1"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_shares_make_up_the_batch_and_are_symmetric(count: int) -> None:
    images = torch.arange(100)
    shares = [images[Worker(rank, count).share(24, 12)] for rank in range(count)]
    assert torch.cat(shares).sort().values.tolist() == list(range(24, 36))
    for share in shares:
        assert (share + share.flip(0) == 24 + 35).all()  # mixup's partner lies in the same share


def test_a_batch_that_cannot_be_shared() -> None:
    with pytest.raises(TrainingError, match="a batch of 10 cannot be shared by 2 processes; give a multiple of 4"):
        Worker(1, 2).share(0, 10)


def metrics(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def test_two_processes_give_the_loss_curve_of_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sample: Dataset
) -> None:
    """The gradients are summed in another order: the losses differ by 2e-5 after three epochs, measured."""
    two, one = tmp_path / "runs" / "two", tmp_path / "one"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [*torchrun, "-m", "cifar_edge", "train", "--data", "sample", "--name", "two"]
    for setting in SETTINGS:
        command += ["--set", setting]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    train(default_recipe("gn-cnn").updated(SETTINGS), sample, one)
    assert [row["phase"] for row in metrics(two)] == ["train", "train", "fold"]
    for shared, alone in zip(metrics(two), metrics(one), strict=True):
        assert float(shared["loss"]) == pytest.approx(float(alone["loss"]), rel=0.001)
        assert float(shared["train_accuracy"]) == pytest.approx(float(alone["train_accuracy"]), abs=0.02)
    assert done.stdout.count("run                   runs/two") == 1
    assert done.stderr.count("training gn-cnn on cifar10-sample") == 1
    written = {file.name for file in two.iterdir()} - {"report.html"}  # which the command adds
    assert {file.name for file in one.iterdir()} == written
