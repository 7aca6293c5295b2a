"""The target litert: the integers of a network as a .tflite file, and what LiteRT and tflite-micro make of it."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from export_helpers import NETWORKS, answers, snr_db
from torch import nn

from cifar_edge.data import Dataset, load_dataset
from cifar_edge.export.integers import quantize
from cifar_edge.export.targets import TARGETS, litert, target_options, write_targets
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.integer import AveragePool, Conv, IntegerNetwork, Linear, Quantization, Residual
from cifar_edge.integer.quantization import fraction
from cifar_edge.runtime.litert import Session
from cifar_edge.runtime.model import load, run
from cifar_edge.spec import CIFAR10_LABELS, ModelMetadata

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

ABOUT = ModelMetadata("net", "int8", CIFAR10_LABELS, 1, 1, "0" * 64, None, 0, {}, "now", temperature=1.5)


def file_of(network: IntegerNetwork, *, scores: bool = False) -> bytes:
    about = replace(ABOUT, size=network.size)
    (content,) = litert.write(network, about, litert.LitertOptions(scores)).values()
    return content


def operators(content: bytes) -> list[str]:
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    model = schema.ModelT.InitFromPackedBuf(content)
    codes = [names[code.builtinCode] for code in model.operatorCodes]
    return [codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators]


def integers(make: Callable[[], nn.Sequential], dataset: Dataset) -> IntegerNetwork:
    torch.manual_seed(0)
    network = FoldedNetwork(make()).eval().requires_grad_(False)
    return quantize(network.layers, dataset.train_images)


@pytest.mark.parametrize(("name", "size"), [*((name, 32) for name in NETWORKS), ("residuals", 48)])
def test_every_layer_is_computed_as_in_the_integer_network(name: str, size: int) -> None:
    dataset = load_dataset("sample", size=size)
    network, images = integers(NETWORKS[name], dataset), dataset.test_images[:66]
    files, wanted = {"file": file_of(network)}, answers(network, images)
    for runner, least in zip(litert.RUNNERS, (120, 30, 30), strict=True):
        if runner.name == "tflite-micro":
            pytest.importorskip("tflite_micro")
        assert snr_db(runner.run(files, images), wanted) > least, runner.name
    one = load(files["file"]).session  # the graph is checked, then LiteRT has it
    assert np.array_equal(np.concatenate([run(one, image[None]) for image in images]), run(one, images))


@pytest.mark.parametrize(("grouped", "depthwise"), [(True, 1), (False, 3)])
def test_depthwise_kernels_that_xnnpack_lacks_become_groups(sample: Dataset, grouped: bool, depthwise: int) -> None:
    layers = (
        nn.Conv2d(3, 24, 3, 2, 1),
        nn.Conv2d(24, 24, 7, padding=3, groups=24),
        nn.Conv2d(24, 24, 5, padding=2, groups=24),
        nn.ReLU(),
        nn.AvgPool2d((9, 3)),
        nn.Flatten(),
        nn.Linear(24 * 5, 10),
    )
    network, images = integers(lambda: nn.Sequential(*layers), sample), sample.test_images[:40]
    files = litert.write(network, ABOUT, litert.LitertOptions(grouped=grouped))
    assert operators(*files.values()).count("DEPTHWISE_CONV_2D") == depthwise
    for runner, least in zip(litert.RUNNERS, (120, 25, 25), strict=True):
        if runner.name == "tflite-micro":
            pytest.importorskip("tflite_micro")
        assert snr_db(runner.run(files, images), answers(network, images)) > least, runner.name


def test_tflite_micro_has_room_for_the_images_of_a_small_network() -> None:
    pytest.importorskip("tflite_micro")
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
    dataset = load_dataset("sample", size=128)
    network, images = integers(lambda: nn.Sequential(*layers), dataset), dataset.test_images[:8]
    assert snr_db(litert.RUNNERS[2].run({"file": file_of(network)}, images), answers(network, images)) > 30


def test_zero_padding_is_the_zero_point_of_the_pixels(sample: Dataset) -> None:
    network = replace(integers(NETWORKS["residuals"], sample), pixels=Quantization(np.float32(1 / 64), 110))
    images = sample.test_images[:20]
    assert snr_db(run(load(file_of(network)).session, images), answers(network, images)) > 120


def test_codes_are_limited_as_relu6_limits_them(sample: Dataset) -> None:
    generator = np.random.default_rng(0)

    def conv(inputs: int, outputs: int, output: Quantization) -> Conv:
        weights = generator.integers(-60, 61, (outputs, inputs, 1, 1)).astype(np.int8)
        scales = np.full(outputs, 0.01, np.float32)
        return Conv(weights, scales, np.zeros(outputs, np.int32), (1, 1), (0, 0, 0, 0), 1, output)

    six = Quantization(np.float32(6 / 200), 0, 200)
    other = replace(six, scale=fraction(six.scale, 8), largest=150)
    layers = (
        conv(3, 8, replace(six, largest=40)),
        Residual((conv(8, 8, six),), (conv(8, 8, other),), six),
        AveragePool(replace(six, scale=np.float32(0.01), largest=90), (2, 2), (2, 2)),
        AveragePool(replace(six, scale=np.float32(0.01), largest=60)),
        Linear(generator.integers(-60, 61, (10, 8)).astype(np.int8), None, np.zeros(10, np.int32), None),
    )
    network = IntegerNetwork(32, layers, np.float32(0.01))
    images, content = sample.test_images, file_of(network)
    assert operators(content).count("MINIMUM") == 4
    assert snr_db(run(Session(content), images), answers(network, images)) > 120


def test_scales_and_integers_are_those_of_the_network(sample: Dataset) -> None:
    network = integers(NETWORKS["residuals"], sample)
    first = network.layers[0]
    assert isinstance(first, Conv)
    model = schema.ModelT.InitFromPackedBuf(file_of(network))
    operator = next(each for each in model.subgraphs[0].operators if len(each.inputs) == 3)
    weights, bias, output = (model.subgraphs[0].tensors[index] for index in (*operator.inputs[1:], *operator.outputs))
    codes = model.buffers[weights.buffer].data.view(np.int8).reshape(weights.shape)
    assert np.array_equal(codes, first.weights.transpose(0, 2, 3, 1))
    assert np.array_equal(weights.quantization.scale, first.scales)
    assert np.array_equal(model.buffers[bias.buffer].data.view(np.int32), first.bias)
    assert output.quantization.scale == first.output.scale
    assert output.quantization.zeroPoint == first.output.zero_point - 128


def test_constants_are_aligned(sample: Dataset) -> None:
    content = file_of(integers(NETWORKS["depthwise"], sample))
    model = schema.Model.GetRootAs(content)
    for index in range(model.BuffersLength()):
        data = model.Buffers(index).DataAsNumpy()
        if not isinstance(data, int):
            place = (
                data.__array_interface__["data"][0] - np.frombuffer(content, np.uint8).__array_interface__["data"][0]
            )
            assert place % 16 == 0


def test_labels_and_metadata_are_where_androids_tools_look(sample: Dataset) -> None:
    content = file_of(integers(NETWORKS["depthwise"], sample))
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        assert packed.read("labels.txt").decode().split() == list(CIFAR10_LABELS)
    model = schema.ModelT.InitFromPackedBuf(content)
    buffers = {entry.name.decode(): model.buffers[entry.buffer].data.tobytes() for entry in model.metadata}
    assert ModelMetadata.from_json(buffers["cifar_edge"].decode()) == ABOUT
    assert buffers["TFLITE_METADATA"][4:8] == b"M001"
    assert b"labels.txt" in buffers["TFLITE_METADATA"]
    assert file_of(integers(NETWORKS["depthwise"], sample)) == content, "the same network gives the same bytes"


def test_scores_are_the_softmax_over_the_temperature(sample: Dataset) -> None:
    network, images = integers(NETWORKS["depthwise"], sample), sample.test_images[:8]
    content = file_of(network, scores=True)
    scaled = np.exp(answers(network, images) / 1.5)
    assert np.allclose(run(Session(content), images), scaled / scaled.sum(axis=1, keepdims=True), atol=1e-6)


def test_a_network_passes_the_gate_in_all_programs(sample: Dataset) -> None:
    network = integers(NETWORKS["depthwise"], sample)
    written = write_targets(
        target_options(["litert"], {"scores": True}), network, ABOUT, sample.test_images, sample.test_labels
    )
    assert list(written["litert"].files) == ["net.int8.tflite"]
    assert [outcome.runner for outcome in written["litert"].outcomes] == [
        each.name for each in TARGETS["litert"].runners
    ]
    assert all(outcome.not_compared or outcome.images == 250 for outcome in written["litert"].outcomes)
