"""A folded network says its own geometry: in its file, whatever family it comes from."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CHECKOUT
from export_helpers import NETWORKS, answers, train, write_run
from safetensors.torch import load_file, save_file
from torch import nn

from cifar_edge.data import Dataset, load_dataset
from cifar_edge.errors import ModelError
from cifar_edge.export.calibration import calibration_images
from cifar_edge.export.integers import quantize
from cifar_edge.export.parity import torch_logits
from cifar_edge.export.pipeline import export_network
from cifar_edge.folding.batch_norm import with_batch_norm, without_batch_norm
from cifar_edge.folding.description import build, describe
from cifar_edge.folding.fold import fold, without_norms
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.models import build as build_model
from cifar_edge.models.gn_cnn import GnCnn, Layer
from cifar_edge.runs.run import FOLDED_WEIGHTS, WEIGHTS
from cifar_edge.runtime.model import load, run
from cifar_edge.spec import METADATA_KEY
from cifar_edge.training.checkpoint import load_network, save_folded
from cifar_edge.training.loop import logits_of


@cache
def trained_tree(name: str) -> FoldedNetwork:
    torch.manual_seed(0)
    sample = load_dataset("sample")
    layers = NETWORKS[name]()
    train(layers, sample)
    return FoldedNetwork(layers).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def any_run(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> Path:
    """A finished run of gn-cnn-nano."""
    return write_run(tmp_path_factory.mktemp("runs") / "run", "gn-cnn-nano", sample)


@pytest.fixture
def run_folder(any_run: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(any_run, tmp_path / "run")


@pytest.mark.parametrize("name", NETWORKS)
def test_any_tree_goes_through_its_file_to_integers_and_gates(name: str, run_folder: Path, sample: Dataset) -> None:
    """Depthwise; identity and projection shortcuts; asymmetric padding, pools, hidden Linear layers."""
    network = trained_tree(name)
    save_folded(run_folder / FOLDED_WEIGHTS, network, "gn-cnn-nano", sample.labels)
    trained = load_network(run_folder)
    read = trained.folded
    assert read is not None
    assert describe(read) == describe(network)
    logits = torch_logits(read, sample.test_images)
    assert np.array_equal(logits, torch_logits(network, sample.test_images))

    # As if it had been trained in this form: the gates ask nothing of a gn-cnn-nano then.
    out = run_folder / "export"
    report = export_network(replace(trained, network=read), sample, out, quantize=True, max_drop=10.0)
    assert [row.name for row in report.rows] == ["GroupNorm fp32", "folded fp32", "int8"]
    integers = quantize(network.layers, calibration_images(sample.train_images))
    int8 = run(load(out / "gn-cnn-nano.int8.onnx").session, sample.test_images)
    assert np.array_equal(int8, answers(integers, sample.test_images))


@pytest.mark.parametrize("name", NETWORKS)
def test_any_tree_is_fine_tuned_with_batch_norms(name: str, sample: Dataset) -> None:
    network = trained_tree(name)
    images = torch.from_numpy(sample.train_images[:100])
    form = with_batch_norm(network, images)
    kinds = [type(module) for module in form.modules()]
    assert kinds.count(nn.BatchNorm2d) == sum(isinstance(module, nn.Conv2d) for module in network.modules())
    assert not any(isinstance(module, nn.Conv2d) and module.bias is not None for module in form.modules())
    scale = logits_of(network, images).abs().max().item()
    torch.testing.assert_close(logits_of(form, images), logits_of(network, images), rtol=0, atol=1e-4 * scale)
    with torch.no_grad():
        for module in form.modules():  # as fine-tuning would have changed them
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                module.weight.mul_(1.1)
                module.running_mean.add_(0.1)
    back = without_batch_norm(form)
    assert describe(back) == describe(network)
    scale = logits_of(form, images).abs().max().item()
    torch.testing.assert_close(logits_of(back, images), logits_of(form, images), rtol=0, atol=1e-4 * scale)


def test_a_network_without_norms_is_its_own_folded_network(sample: Dataset) -> None:
    torch.manual_seed(0)
    network = build_model("s8-none").eval()
    folded = without_norms(network)
    assert folded is not None
    difference = torch_logits(folded, sample.test_images) - torch_logits(network, sample.test_images)
    assert np.abs(difference).max() < 1e-5
    assert isinstance(folded.layers[-1], nn.Linear)
    assert [without_norms(build_model(name)) for name in ("s8-batch", "s8-group", "s8-layer", "gn-cnn")] == [None] * 4


def test_a_file_of_an_earlier_version_is_read_as_ever(sample: Dataset) -> None:
    """Its tensors are called after gn-cnn's chain, and it has no description."""
    path = CHECKOUT / "runs" / "keep" / "gn-cnn-twin" / FOLDED_WEIGHTS
    tensors = load_file(path)
    assert "convolutions.6.weight" in tensors
    folded = load_network(path.parent).folded
    assert folded is not None
    x = torch.from_numpy(sample.test_images).permute(0, 3, 1, 2).float().sub(128).mul(1 / 64).contiguous()
    for index, (stride, padding) in enumerate([(2, 1), (1, 1), (1, 1), (2, 1), (1, 1), (1, 1), (1, 0)]):
        weight, bias = tensors[f"convolutions.{index}.weight"], tensors[f"convolutions.{index}.bias"]
        x = nn.functional.conv2d(x, weight, bias, stride, padding).relu()
    logits = nn.functional.linear(x.mean((2, 3)), tensors["head.weight"], tensors["head.bias"])
    torch.testing.assert_close(torch.from_numpy(torch_logits(folded, sample.test_images)), logits)


def test_a_file_written_anew_gives_the_same_logits(run_folder: Path, sample: Dataset) -> None:
    """With shortcuts: the released network has none."""
    torch.manual_seed(0)
    layers = (Layer(8, 4, 2), Layer(8, depthwise=True), Layer(8, 1, identity=False, residual=2), Layer(8, residual=1))
    folded = fold(GnCnn(10, layers).eval(), torch.from_numpy(sample.train_images[:50]))
    save_folded(run_folder / FOLDED_WEIGHTS, folded, "gn-cnn-nano", sample.labels)
    read = load_network(run_folder).folded
    assert read is not None
    assert [type(module) for module in read.modules()] == [type(module) for module in folded.modules()]
    assert np.array_equal(torch_logits(read, sample.test_images), torch_logits(folded, sample.test_images))


def nested(depth: int) -> list[Any]:
    layers: list[Any] = []
    for _ in range(depth):
        layers = [{"kind": "Residual", "layers": layers, "shortcut": []}]
    return layers


CONV = {
    "kind": "Conv2d",
    "in_channels": 3,
    "out_channels": 16,
    "kernel_size": [4, 4],
    "stride": [2, 2],
    "padding": [1, 1],
    "groups": 1,
    "bias": True,
}
HOSTILE: dict[str, tuple[object, str]] = {
    "no list": ({"kind": "ReLU"}, "is not a list of layers"),
    "no object": (["ReLU"], "is not an object"),
    "no kind": ([{}], "is not Sequential or Residual or Conv2d"),
    "unknown kind": ([{"kind": "LSTM"}], "'LSTM' is not"),
    "kind of another type": ([{"kind": ["ReLU"]}], "is not Sequential"),
    "another field": ([{"kind": "ReLU", "inplace": True}], "a ReLU has no fields, not inplace"),
    "a field is missing": ([{"kind": "MaxPool2d", "stride": [1, 1]}], "a MaxPool2d has kernel_size, stride, padding"),
    "deep": (nested(100), "more than 8 deep"),
    "many": ([{"kind": "ReLU"}] * 5_000, "more than 1,000 layers"),
    "many inside": ([{"kind": "Sequential", "layers": [{"kind": "ReLU"}] * 200}] * 6, "more than 1,000 layers"),
    "large": ([{**CONV, "out_channels": 10**12}], "in a Conv2d a number is not a whole number"),
    "no channels": ([{**CONV, "out_channels": 0}], "in a Conv2d a size is 0"),
    "stride 0": ([{**CONV, "stride": [0, 1]}], "in a Conv2d a size is 0"),
    "negative padding": ([{**CONV, "padding": [-1, 1]}], "in a Conv2d -1 is not"),
    "three numbers": ([{**CONV, "padding": [1, 1, 1]}], "is not a list of 2 numbers"),
    "a true number": ([{**CONV, "groups": True}], "in a Conv2d True is not"),
    "a fraction": ([{**CONV, "groups": 1.0}], "in a Conv2d 1.0 is not"),
    "a number for a flag": ([{**CONV, "bias": 1}], "in a Conv2d 1 is not true or false"),
    "groups": ([{**CONV, "groups": 2}], "in_channels must be divisible by groups"),
    "growing": ([{"kind": "ZeroPad2d", "padding": [256] * 4}] * 100, "has more than 67,108,864 outputs"),
    "layers that do not fit": ([CONV, CONV], "its layers do not fit each other"),
    "no layers": ([], "its output is not one of 10 classes"),
    "no classes": ([CONV], "its output is not one of 10 classes"),
}


def with_layers(path: Path, change: Callable[[Any], object]) -> None:
    """Rewrite a file of weights with what ``change`` makes of its description."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = json.loads(header["__metadata__"][METADATA_KEY])
    about["layers"] = change(about["layers"])
    save_file(load_file(path), path, {METADATA_KEY: json.dumps(about)})


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_description_is_one_line(name: str, run_folder: Path) -> None:
    description, reason = HOSTILE[name]
    with_layers(run_folder / FOLDED_WEIGHTS, lambda layers: description)
    with pytest.raises(ModelError, match=r"deploy\.safetensors holds no folded network") as refused:
        load_network(run_folder)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_description_of_other_weights_is_refused_before_memory_is_taken(run_folder: Path) -> None:
    def widened(layers: Any) -> Any:
        *before, head = layers
        wide = 1 << 20
        huge = [("Linear", head["in_features"], wide), ("Linear", wide, wide), ("Linear", wide, 10)]
        return before + [{"kind": k, "in_features": i, "out_features": o, "bias": True} for k, i, o in huge]

    with_layers(run_folder / FOLDED_WEIGHTS, widened)
    with pytest.raises(ModelError, match="holds no folded network"):
        load_network(run_folder)


def test_a_file_without_a_description_is_of_gn_cnn(run_folder: Path, sample: Dataset) -> None:
    other = write_run(run_folder.parent / "other", "s8-batch", sample)
    shutil.copy(run_folder / WEIGHTS, other / FOLDED_WEIGHTS)
    with pytest.raises(ModelError, match="does not say of which layers it is"):
        load_network(other)


@pytest.mark.parametrize(
    "module",
    [
        nn.GroupNorm(1, 3),
        nn.Conv2d(3, 3, 3, dilation=2),
        nn.Conv2d(3, 3, 3, padding="same"),
        nn.Conv2d(3, 3, 3, padding_mode="reflect"),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.AvgPool2d(2, padding=1, count_include_pad=False),
        nn.AvgPool2d(2, divisor_override=3),
        nn.ReLU(inplace=True),
        nn.Flatten(2),
    ],
    ids=str,
)
def test_what_a_description_cannot_say_is_refused(module: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"folded network|Conv2d"):
        describe(nn.Sequential(module))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_description_is_json(name: str) -> None:
    description = describe(NETWORKS[name]())
    assert json.loads(json.dumps(description)) == description == describe(build(description))
