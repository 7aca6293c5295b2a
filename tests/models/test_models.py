"""The networks: the reference table line by line, shapes, gradients, multiply-accumulates."""

import json

import pytest
import torch
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode

from cifar_edge.cli.main import main
from cifar_edge.errors import ModelError, RecipeError
from cifar_edge.folding.gn_cnn import unfitted
from cifar_edge.models import MODELS, build
from cifar_edge.models.depthwise import DepthwiseConv2d
from cifar_edge.models.gn_cnn import GnCnn, Layer
from cifar_edge.models.pixels import PixelNetwork, pixels_to_input
from cifar_edge.models.summary import count_macs, count_parameters, summarize
from cifar_edge.spec import IMAGE_SIZES

# As published: layer, output, parameters.
REFERENCE_TABLE = """\
Conv2d-1        | [4, 30, 30]  | 108
LayerNorm-3     | [4, 30, 30]  | 7,200
Conv2d-5        | [8, 28, 28]  | 288
LayerNorm-7     | [8, 28, 28]  | 12,544
Conv2d-9 (1x1)  | [4, 28, 28]  | 32
MaxPool2d-10    | [4, 14, 14]  |
Conv2d-11       | [10, 14, 14] | 360
LayerNorm-13    | [10, 14, 14] | 3,920
Conv2d-15       | [16, 12, 12] | 1,440
LayerNorm-17    | [16, 12, 12] | 4,608
Conv2d-19       | [16, 12, 12] | 2,304
LayerNorm-21    | [16, 12, 12] | 4,608
Conv2d-23 (1x1) | [10, 12, 12] | 160
MaxPool2d-24    | [10, 6, 6]   |
Conv2d-25       | [16, 6, 6]   | 1,440
LayerNorm-27    | [16, 6, 6]   | 1,152
Conv2d-29       | [16, 6, 6]   | 2,304
LayerNorm-31    | [16, 6, 6]   | 1,152
Conv2d-33       | [16, 6, 6]   | 2,304
LayerNorm-35    | [16, 6, 6]   | 1,152
AvgPool2d-37    | [16, 1, 1]   |
Conv2d-38 (1x1) | [10, 1, 1]   | 160
total           |              | 47,236
"""
# One multiply-accumulate for each weight at each position of the output.
REFERENCE_MACS = (
    (108 * 30 * 30 + 288 * 28 * 28 + 32 * 28 * 28)
    + (360 * 14 * 14 + 1440 * 12 * 12 + 2304 * 12 * 12 + 160 * 12 * 12)
    + (1440 * 6 * 6 + 2304 * 6 * 6 + 2304 * 6 * 6 + 160)
)


def random_pixels(batch: int, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8, generator=generator)


def test_summary_prints_the_reference_table() -> None:
    result = CliRunner().invoke(main, ["summary", "s8-layer"])
    assert result.exit_code == 0
    _header, *rows = result.stdout.split("\n\n")[0].splitlines()
    printed = [(row[:22].strip(), row[22:38].strip(), row[38:48].strip()) for row in rows]
    assert printed == [tuple(cell.strip() for cell in line.split("|")) for line in REFERENCE_TABLE.splitlines()]


def test_summary_prints_the_reference_sizes() -> None:
    foot = CliRunner().invoke(main, ["summary", "s8-layer"]).stdout.split("\n\n")[1]
    assert [line.split() for line in foot.splitlines()] == [
        ["input", "0.01", "MB"],
        ["forward/backward", "0.60", "MB"],
        ["parameters", "0.18", "MB"],
        ["total", "0.79", "MB"],
    ]


def test_summary_as_json_holds_every_layer() -> None:
    record = json.loads(CliRunner().invoke(main, ["summary", "s8-group", "--json"]).stdout)
    assert record["model"] == "s8-group"
    assert record["parameters"] == sum(layer["parameters"] for layer in record["layers"]) == 11_104
    assert record["macs"] == sum(layer["macs"] for layer in record["layers"]) == REFERENCE_MACS
    assert [layer["name"] for layer in record["layers"][:5]] == [
        "Conv2d-1",
        "ReLU-2",
        "GroupNorm-3",
        "Dropout-4",
        "Conv2d-5",
    ]


def test_summary_of_an_unknown_network_names_the_known_ones() -> None:
    result = CliRunner().invoke(main, ["summary", "resnet"])
    assert result.exit_code == RecipeError.exit_code
    assert result.stderr.startswith("Error: ")
    assert all(name in result.stderr for name in ["'resnet'", *MODELS])


@pytest.mark.parametrize(
    ("name", "parameters"), [("s8-layer", 47_236), ("s8-group", 11_104), ("s8-batch", 11_104), ("s8-none", 10_900)]
)
def test_reference_networks_have_the_published_parameters(name: str, parameters: int) -> None:
    assert count_parameters(build(name)) == parameters


@pytest.mark.parametrize("name", ["s8-group", "s8-none"])
def test_logits_of_a_fresh_reference_network_tell_images_apart(name: str) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        logits = PixelNetwork(build(name)).eval()(random_pixels(64))
    assert logits.std(0).mean() > 0.01


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [("gn-cnn", 50_000, 6e6), ("gn-cnn-max", 50_000, 9e6), ("gn-cnn-nano", 16_000, 1.2e6)],
)
def test_each_size_keeps_its_budget_in_both_forms(name: str, parameters: int, macs: float) -> None:
    network = build(name)
    assert isinstance(network, GnCnn)
    folded = summarize(unfitted(network))
    assert count_parameters(network) <= parameters
    assert folded.parameters <= parameters
    assert folded.macs <= macs


@pytest.mark.parametrize(
    "layers",
    [
        (Layer(8), Layer(8, stride=2, residual=1)),
        (Layer(8), Layer(12, residual=1)),
        (Layer(8, residual=1), Layer(8)),
        (Layer(8), Layer(8, residual=2)),
        (Layer(8), Layer(8, residual=-1)),
        (Layer(8), Layer(8), Layer(8, residual=2), Layer(8, residual=2)),
    ],
)
def test_a_residual_that_does_not_fit_is_an_error(layers: tuple[Layer, ...]) -> None:
    with pytest.raises(ValueError, match="has a residual"):
        GnCnn(10, layers)


@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 2, 16), (3, 2, 15), (5, 2, 8), (3, 3, 16), (4, 2, 9)])
def test_depthwise_convolutions_train_as_any_other(kernel: int, stride: int, size: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 6, size, size)
    plain = torch.nn.Conv2d(6, 6, kernel, stride, (kernel - 1) // 2, groups=6)
    ours = DepthwiseConv2d(6, 6, kernel, stride, (kernel - 1) // 2, groups=6)
    ours.load_state_dict(plain.state_dict())
    for network in (plain, ours):
        network(x).square().sum().backward()
    torch.testing.assert_close(ours(x), plain(x))
    torch.testing.assert_close(ours.eval()(x), plain(x), rtol=0, atol=0)
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("classes", "size"), [(2, 32), *((10, size) for size in IMAGE_SIZES)])
def test_pixels_in_logits_out(name: str, classes: int, size: int) -> None:
    network = PixelNetwork(build(name, classes, size)).eval()
    for batch in (1, 2):
        logits = network(random_pixels(batch, size))
        assert logits.shape == (batch, classes)
        assert logits.dtype == torch.float32


@pytest.mark.parametrize("size", IMAGE_SIZES)
def test_a_gn_cnn_has_as_many_parameters_at_every_size_and_macs_as_the_area(size: int) -> None:
    network = build("gn-cnn", size=size)
    assert count_parameters(network) == count_parameters(build("gn-cnn"))
    convolutions = count_macs(build("gn-cnn")) - 1_120  # those of the classifier stay
    assert count_macs(network, size) - 1_120 == pytest.approx(convolutions * (size / 32) ** 2)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    network = PixelNetwork(build(name))
    torch.nn.functional.cross_entropy(network(random_pixels(8)), torch.arange(8)).backward()
    starved = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert starved == []


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("name", MODELS)
def test_macs_agree_with_torchs_own_counter(name: str, size: int) -> None:
    network = PixelNetwork(build(name, size=size)).eval()
    with FlopCounterMode(display=False) as counter:
        network(random_pixels(1, size))
    assert counter.get_total_flops() == 2 * count_macs(network.network, size)


def test_summary_is_of_the_size_that_is_asked_for() -> None:
    done = CliRunner().invoke(main, ["summary", "gn-cnn", "--size", "64", "--json"])
    record = json.loads(done.stdout)
    assert (record["size"], record["layers"][0]["input"]) == (64, [3, 64, 64])
    text = " ".join(CliRunner().invoke(main, ["summary", "--help"]).stdout.split())
    assert f"a multiple of 16 from {IMAGE_SIZES[0]} to {IMAGE_SIZES[-1]}" in text
    for size in ("40", "16", "144", "x"):
        assert CliRunner().invoke(main, ["summary", "gn-cnn", "--size", size]).exit_code == 2


def test_summarize_leaves_the_network_alone() -> None:
    network = build("s8-batch").train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    summarize(network)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_pixel_map_is_the_contracts() -> None:
    images = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    images[0, 1, 2] = torch.tensor([0, 128, 255])
    mapped = pixels_to_input(images)
    assert mapped.shape == (1, 3, 32, 32)
    assert mapped.is_contiguous()
    assert mapped[0, :, 1, 2].tolist() == [-2.0, 0.0, 127 / 64]


def test_a_network_is_found_by_its_earlier_name() -> None:
    earlier, today = build("gn-cnn-dw").state_dict(), build("gn-cnn").state_dict()
    assert {name: tensor.shape for name, tensor in earlier.items()} == {n: tensor.shape for n, tensor in today.items()}
    assert "gn-cnn-dw" not in MODELS


def test_an_unknown_network_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"no network is called 'gncnn'.*gn-cnn"):
        build("gncnn")
