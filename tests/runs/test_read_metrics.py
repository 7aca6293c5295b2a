"""What a run recorded, read back by the run's folder or a released model's name."""

from pathlib import Path

import pytest
from conftest import CHECKOUT

from cifar_edge.data import Dataset
from cifar_edge.errors import ModelError
from cifar_edge.models import default_recipe
from cifar_edge.training import Callbacks, EpochRecord, load_network, read_metrics, train


def test_a_run_gives_back_what_its_callbacks_received(sample: Dataset, tmp_path: Path) -> None:
    told: list[EpochRecord] = []
    recipe = default_recipe("s8-batch").with_values(epochs=2)
    train(recipe, sample, tmp_path, device="cpu", callbacks=Callbacks(epoch=lambda record, epochs: told.append(record)))
    read = read_metrics(tmp_path)
    assert [(record.phase, record.epoch) for record in read] == [("train", 1), ("train", 2)]
    assert [record.loss for record in read] == pytest.approx([record.loss for record in told], rel=1e-5)


def test_a_released_model_is_read_by_its_name() -> None:
    records, trained = read_metrics("s8-layer"), load_network("s8-layer")
    assert [record.epoch for record in records] == list(range(1, 21))
    assert trained.name == "s8-layer"
    assert trained.weights == CHECKOUT / "models" / "s8-layer" / "model.safetensors"


@pytest.mark.parametrize("content", [None, b"phase,epoch\ntrain,1\n", b"\xff\xfe", b"phase,epoch,loss\ntrain,x,y\n"])
def test_missing_or_damaged_metrics_are_errors(content: bytes | None, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    if content is not None:
        (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(ModelError, match=r"metrics\.csv does not hold the metrics of a training"):
        read_metrics(tmp_path)
