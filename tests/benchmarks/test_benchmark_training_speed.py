"""What benchmarks/training/speed.py publishes: ways of training the same network on the same images."""

import pytest
import torch

from benchmarks.training.speed import BATCH, WAYS, Way, batches, measure, parts, tensors, trainer
from cifar_edge.data import Dataset

EAGER = [way for way in WAYS if way.compile is None and not way.workers]


@pytest.mark.parametrize("way", EAGER, ids=lambda way: way.name)
def test_every_way_serves_whole_batches_of_every_image(way: Way, sample: Dataset) -> None:
    images, labels = tensors(sample, 2 * BATCH)
    served = list(batches(way, images, labels))
    assert [tuple(inputs.shape) for inputs, _ in served] == [(BATCH, 3, 32, 32)] * 2
    assert all(inputs.dtype == torch.float32 and 1.5 < inputs.abs().max() < 3.0 for inputs, _ in served)
    counts = torch.cat([targets for _, targets in served]).bincount(minlength=10)
    assert counts.tolist() == labels.bincount(minlength=10).tolist()


@pytest.mark.parametrize("way", EAGER, ids=lambda way: way.name)
def test_every_way_trains(way: Way, sample: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = tensors(sample, BATCH)
    convolution = torch.nn.Conv2d(3, 10, 3)
    network = torch.nn.Sequential(convolution, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    before = convolution.weight.detach().clone()
    monkeypatch.setattr("benchmarks.training.speed.build", lambda model: network)
    epoch = trainer(way, "gn-cnn", images, labels)
    epoch()
    assert not torch.equal(convolution.weight, before)
    assert torch.isfinite(convolution.weight).all()


def test_ratios_are_to_the_first_way(sample: Dataset) -> None:
    results = measure("s8-group", *tensors(sample, BATCH), EAGER[:2], rounds=1)
    assert [result.way for result in results] == [way.name for way in EAGER[:2]]
    assert results[0].ratio == 1.0
    assert results[1].ratio == pytest.approx(results[1].images_per_second / results[0].images_per_second, abs=0.02)


def test_parts_are_those_of_a_step(sample: Dataset) -> None:
    taken = parts("s8-group", *tensors(sample, BATCH))
    assert list(taken) == ["augmentation", "forward", "backward", "optimiser"]
    assert all(seconds > 0 for seconds in taken.values())
