"""What a user may have got wrong with a network before it came here: its input, its weights, its labels."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

import cifar_edge.export as edge
from cifar_edge.data import Dataset
from cifar_edge.errors import ExportError, GateFailed

MEAN, STD = 120.0, 60.0


def untrained(scale: float = 1.0) -> nn.Module:
    """A network that knows nothing, with logits of about ``scale``; its answers are spread over the classes."""
    torch.manual_seed(0)
    convolution, classifier = nn.Conv2d(3, 16, 3, 2, 1), nn.Linear(16, 10)
    with torch.no_grad():
        classifier.weight.mul_(scale)
        classifier.bias.mul_(scale)
    return nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), classifier).eval()


@pytest.fixture(scope="module")
def made(sample: Dataset) -> edge.Quantized:
    return edge.quantize(edge.fold(untrained(), sample.train_images, mean=MEAN, std=STD), sample.train_images)


@pytest.fixture(scope="module")
def classes(sample: Dataset, made: edge.Quantized) -> npt.NDArray[np.int64]:
    """Labels of which the network knows every one."""
    found: npt.NDArray[np.int64] = edge.torch_logits(made.folded.origin.network, sample.test_images).argmax(1)
    return found


def flat(text: str) -> str:
    return " ".join(text.split())


def test_the_report_says_how_good_the_network_was_and_what_it_was_given(
    sample: Dataset, made: edge.Quantized, classes: npt.NDArray[np.int64], tmp_path: Path
) -> None:
    report = edge.export(made, tmp_path / "out", test=(sample.test_images, classes))
    for text in (report.to_table(), report.to_markdown()):
        assert "the network as given: 100.00% right (98.49% to 100.00%), with mean 120 and std 60" in flat(text)
        assert "warning" not in text.lower()
    assert json.loads(report.to_json())["own"]["warning"] is None


@pytest.mark.parametrize(
    ("labels", "said", "unsaid"),
    [
        (lambda known, true: true, "is low for 10 classes, where chance has 10.00%", "it looks like the order"),
        (lambda known, true: (known + 3) % 10, "it looks like the order: ... 100.00% would be right", ""),
    ],
)
def test_an_accuracy_near_chance_is_a_warning_that_says_what_to_check(
    sample: Dataset,
    made: edge.Quantized,
    classes: npt.NDArray[np.int64],
    tmp_path: Path,
    labels: Callable[[Any, Any], npt.NDArray[np.int64]],
    said: str,
    unsaid: str,
) -> None:
    test = sample.test_images, labels(classes, sample.test_labels)
    report = edge.export(made, tmp_path / "out", test=test)
    for text in (report.to_table(), report.to_markdown()):
        text = flat(text)
        assert "check mean and std (120 and 60), that trained weights were loaded, and the order" in text
        assert all(part in text for part in said.split(" ... "))
        assert not unsaid or unsaid not in text
    assert report.own is not None
    assert report.own.warning == json.loads((tmp_path / "out" / "report.json").read_text())["own"]["warning"]


@pytest.mark.parametrize(
    ("input_map", "message"),
    [
        (
            {"mean": (0.4914, 0.48, 0.44), "std": (0.25, 0.24, 0.26)},
            "mean = 0.4914,0.48,0.44 and std = 0.25,0.24,0.26: units are those of pixels from 0 to 255, not from 0 to "
            "1; give 125.307,122.4,112.2 and 63.75,61.2,66.3",
        ),
        ({"mean": 0.5}, "mean = 0.5: units .*; give 127.5"),
        ({"mean": 0, "std": 0.5}, "std = 0.5: units .*; give 127.5"),
        ({"std": (0.0,)}, "std = 0 is not positive"),
        ({"std": (1, 1, -2)}, "std = 1,1,-2 is not positive"),
    ],
)
def test_units_of_0_to_1_are_refused(sample: Dataset, input_map: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=f"^{message}"):
        edge.fold(untrained(), sample.train_images, **input_map)


@pytest.mark.parametrize("input_map", [{"mean": 0, "std": 1}, {"mean": 0, "std": 255}, {"mean": -0.5, "std": 256}])
def test_a_network_that_normalises_its_input_itself_is_folded(sample: Dataset, input_map: dict[str, Any]) -> None:
    assert edge.fold(untrained(), sample.train_images, **input_map).origin.size == 32


def test_logits_may_be_of_any_size(sample: Dataset, tmp_path: Path) -> None:
    images = sample.train_images
    made = edge.quantize(edge.fold(untrained(1e4), images, mean=MEAN, std=STD), images)
    report = edge.export(made, tmp_path / "out", test=(sample.test_images, sample.test_labels))
    assert report.rows[0].comparison.max_difference > 1e-4


def test_advice_is_what_can_be_done_with_an_own_network(
    sample: Dataset, made: edge.Quantized, classes: npt.NDArray[np.int64], tmp_path: Path
) -> None:
    weights = made.folded.origin.network[1].state_dict()
    other = untrained()
    other.load_state_dict(
        {name: tensor.flip(0) if name.startswith("4") else tensor for name, tensor in weights.items()}
    )
    truth = edge.torch_logits(nn.Sequential(made.folded.origin.network[0], other), sample.test_images).argmax(1)
    with pytest.raises(GateFailed, match=r"try fine-tuning \(--finetune EPOCHS.*, or allow more"):
        edge.export(made, tmp_path / "out", test=(sample.test_images, truth), reference=other)
    lost = edge.export(made, tmp_path / "out", test=(sample.test_images, truth), reference=other, max_drop=99)
    assert "cifar-edge fold" not in lost.reason
