"""The target c: C99 that is compiled here and gives the logits of the integer network, bit for bit."""

import ctypes
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from c_helpers import ABOUT, SANITIZERS, c_logits, compiled, write_folder
from click.testing import CliRunner
from export_helpers import LAYER, NETWORKS, build_folded
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from cifar_edge import c
from cifar_edge.c import gate
from cifar_edge.cli.main import main
from cifar_edge.data import Dataset
from cifar_edge.export.integers import quantize
from cifar_edge.export.targets import TARGETS, target_options
from cifar_edge.files import released
from cifar_edge.integer import (
    AveragePool,
    Conv,
    IntegerNetwork,
    Linear,
    MaxPool,
    Quantization,
    Residual,
)
from cifar_edge.integer.quantization import DENOMINATOR, fraction

pytestmark = pytest.mark.skipif(gate.compiler() is None, reason="needs a C compiler")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-O2")
FEW = settings(max_examples=8, deadline=None, phases=[Phase.generate])  # each is compiled; shrinking takes minutes
INT8 = "gn-cnn.int8.onnx"


@pytest.fixture(scope="module")
def gn_cnn() -> IntegerNetwork:
    return IntegerNetwork.from_onnx(released(f"export/gn-cnn/{INT8}"))


def test_gn_cnn_gives_the_logits_of_the_integer_network(gn_cnn: IntegerNetwork, sample: Dataset) -> None:
    assert np.array_equal(c_logits(gn_cnn, sample.test_images), gn_cnn(sample.test_images))


@pytest.mark.parametrize(
    ("largest", "fits"), [(2**15 - 1, True), (-(2**15), True), (2**15, False), (-(2**15) - 1, False)]
)
def test_biases_take_16_bits_where_all_fit(gn_cnn: IntegerNetwork, largest: int, fits: bool, sample: Dataset) -> None:
    bias = gn_cnn.head.bias.copy()
    bias[3] = largest
    network = replace(gn_cnn, layers=(*gn_cnn.layers[:-1], replace(gn_cnn.head, bias=bias)))
    channels = sum(len(layer.bias) for layer in network.layers if isinstance(layer, Conv | Linear))
    more = c.figures(network)["flash_bytes"] - c.figures(gn_cnn)["flash_bytes"]
    assert more == (0 if fits else 2 * channels)
    assert np.array_equal(c_logits(network, sample.test_images[:20]), network(sample.test_images[:20]))


@pytest.mark.parametrize("compiler", [["gcc"], ["clang"], ["g++", "-xc++"], ["clang++", "-xc++"]], ids=lambda c: c[0])
def test_it_compiles_without_a_warning(gn_cnn: IntegerNetwork, tmp_path: Path, compiler: list[str]) -> None:
    source = write_folder(gn_cnn, tmp_path)
    flags = [flag for flag in STRICT if len(compiler) == 1 or flag != "-std=c99"]
    for kernels in gate.variants(TARGETS["c"].write(gn_cnn, ABOUT, TARGETS["c"].options())).values():
        try:
            done = subprocess.run(
                [*compiler, *flags, *kernels, "-c", source.name, "-o", "x.o"], cwd=source.parent, capture_output=True
            )
        except FileNotFoundError:
            pytest.skip(f"needs {compiler[0]}")
        assert (done.returncode, done.stderr.decode()) == (0, "")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_layer(name: str, sample: Dataset, tmp_path: Path) -> None:
    network = quantize(NETWORKS[name]().eval(), sample.train_images[:64], fit=False)
    assert np.array_equal(c_logits(network, sample.test_images), network(sample.test_images))
    strict = compiled(network, tmp_path, (*SANITIZERS, *STRICT))
    assert np.array_equal(strict(sample.test_images[:20]), network(sample.test_images[:20]))


@FEW
@given(layers=st.lists(LAYER, min_size=1, max_size=4))
def test_networks_of_any_shape(
    layers: list[dict[str, int]], sample: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> None:
    network = quantize(build_folded(layers, 10).layers, sample.train_images[:32], fit=False)
    images = sample.test_images[:20]
    logits = compiled(network, tmp_path_factory.mktemp("c"), SANITIZERS)(images)
    assert np.array_equal(logits, network(images))


@pytest.mark.parametrize(("size", "bytes_each"), [(8, 2), (16, 2), (17, 4)])
@pytest.mark.parametrize("zero_point", [0, 7])
def test_the_sums_of_a_global_pool_hold_the_largest_codes(
    size: int, bytes_each: int, zero_point: int, tmp_path: Path
) -> None:
    """257 codes of 255 fit into 16 bits; 41 channels are two vectors of 16 and some more."""
    channels, codes = 41, Quantization(np.float32(1), zero_point)
    ones = np.ones((channels, 3, 1, 1), np.int8)
    scales = np.full(channels, 64, np.float32)  # that of pixels is 1 / 64
    bias = 100 + np.arange(channels, dtype=np.int32)
    convolution = Conv(ones, scales, bias, (1, 1), (0, 0, 0, 0), 1, codes)
    head = Linear(np.eye(10, channels, dtype=np.int8), None, np.zeros(10, np.int32), None)
    network = IntegerNetwork(size, (convolution, AveragePool(codes), head), np.float32(1))
    white = np.full((1, size, size, 3), 255, np.uint8)
    images = np.concatenate([white, np.random.default_rng(0).integers(0, 256, (20, size, size, 3), np.uint8)])
    logits = network(images)
    assert logits[0].max() == 255 - zero_point
    assert np.array_equal(c_logits(network, images), logits)
    assert np.array_equal(compiled(network, tmp_path, (*SANITIZERS, *STRICT))(images), logits)
    assert network.summary().layers[1].activation_bytes == bytes_each * channels


OUTPUTS = st.builds(
    Quantization, st.floats(1e-3, 1e-1).map(np.float32), st.sampled_from([0, 3, 128]), st.sampled_from([200, 255])
)


@st.composite
def integer_networks(draw: st.DrawFn) -> IntegerNetwork:
    """Any layers, zero points and scales, most of which have no exact multiplier."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape: tuple[int, ...] = (32, 32, 3)
    layers: list[Conv | MaxPool | AveragePool | Residual] = []

    def conv(channels: int, stride: int, kernel: tuple[int, int], groups: int, out: int, output: Quantization) -> Conv:
        padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
        weights = generator.integers(-127, 128, (out, channels // groups, *kernel)).astype(np.int8)
        scales = generator.uniform(1e-4, 1e-2, out).astype(np.float32)
        bias = generator.integers(-(2**12), 2**12, out).astype(np.int32)
        return Conv(weights, scales, bias, (stride, draw(st.integers(1, 2))), padding, groups, output)

    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "depthwise", "max", "mean", "sum"]))
        channels, output = shape[2], draw(OUTPUTS)
        kernel = (draw(st.integers(1, min(4, shape[0]))), draw(st.integers(1, min(4, shape[1]))))
        stride = draw(st.integers(1, 3))
        if kind == "conv":
            layers.append(conv(channels, stride, kernel, 1, draw(st.integers(1, 40)), output))
        elif kind == "depthwise":
            layers.append(conv(channels, stride, kernel, channels, channels, output))
        elif kind == "max":
            padding = (kernel[0] - 1, 0, 0, kernel[1] - 1)
            layers.append(MaxPool(kernel, (stride, stride), padding))
        elif kind == "mean":
            layers.append(AveragePool(output, kernel, (stride, 1), (0, kernel[1] - 1, 0, 0)))
        else:
            scales = np.full(channels, 1e-3, np.float32)
            weights = generator.integers(-127, 128, (channels, channels, 3, 3)).astype(np.int8)
            bias = np.zeros(channels, np.int32)
            branch = Conv(weights, scales, bias, (1, 1), (1, 1, 1, 1), 1, output)
            finer = replace(output, scale=fraction(output.scale, draw(st.integers(1, DENOMINATOR))))
            one = replace(replace_kernel(branch), output=finer)
            layers.append(Residual((branch, branch), (one,), output))
        shape = layers[-1].output_shape(shape)
    head = generator.integers(-127, 128, (10, int(np.prod(shape)))).astype(np.int8)
    return IntegerNetwork(32, (*layers, Linear(head, None, np.arange(10, dtype=np.int32), None)), np.float32(1e-3))


def replace_kernel(conv: Conv) -> Conv:
    """``conv`` with the middle of its kernel alone."""
    weights = np.ascontiguousarray(conv.weights[:, :, 1:2, 1:2])
    return Conv(weights, conv.scales, conv.bias, (1, 1), (0, 0, 0, 0), 1, conv.output)


@FEW
@given(network=integer_networks())
def test_any_zero_points_and_scales(
    network: IntegerNetwork, sample: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> None:
    images = sample.test_images[:10]
    logits = compiled(network, tmp_path_factory.mktemp("c"), SANITIZERS)(images)
    assert np.array_equal(logits, network(images))


def test_rows_give_what_an_image_gives_and_states_do_not_share(
    gn_cnn: IntegerNetwork, sample: Dataset, tmp_path: Path
) -> None:
    source = write_folder(gn_cnn, tmp_path, name="net")
    library = tmp_path / "net.so"
    subprocess.run([*(gate.compiler() or []), "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    net = ctypes.CDLL(str(library))
    states = [ctypes.create_string_buffer(16384) for _ in range(2)]
    images = np.ascontiguousarray(sample.test_images[:2])
    for state in states:
        net.net_begin(state)
    for row in range(32):
        for state, image in zip(states, images, strict=True):
            net.net_row(state, image[row].ctypes.data_as(ctypes.c_void_p))
    wanted = gn_cnn(images)
    for state, logits in zip(states, wanted, strict=True):
        found = np.zeros(10, np.int32)
        assert net.net_end(state, found.ctypes.data_as(ctypes.c_void_p)) == 0
        assert np.array_equal(found, logits)
        assert net.net_decide(found.ctypes.data_as(ctypes.c_void_p)) == logits.argmax()
    assert ctypes.c_float.in_dll(net, "net_logit_scale").value == gn_cnn.logit_scale
    description = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(net, "net_description")))
    assert description.startswith(b"gn-cnn.int8@")


TOO_SHORT = """
#include "net.h"
int main(void) {
  static net_state state;
  static const uint8_t rgb[NET_SIZE * NET_SIZE * 3 - 1];
  int32_t logits[NET_CLASSES];
  net_run(&state, rgb, logits);
  return 0;
}
"""


def test_a_compiler_warns_of_an_array_that_is_too_short(gn_cnn: IntegerNetwork, tmp_path: Path) -> None:
    main = write_folder(gn_cnn, tmp_path, name="net").parent / "main.c"
    command = [*(gate.compiler() or []), "-std=c99", "-O1", "-Werror", "-c", "-o", str(tmp_path / "main.o"), str(main)]
    for program, warned in ((TOO_SHORT, True), (TOO_SHORT.replace(" - 1", ""), False)):
        main.write_text(program)
        assert bool(subprocess.run(command, capture_output=True).returncode) is warned


def test_an_image_of_too_few_rows_or_too_many_has_no_logits(
    gn_cnn: IntegerNetwork, sample: Dataset, tmp_path: Path
) -> None:
    source = write_folder(gn_cnn, tmp_path, name="net")
    library = tmp_path / "net.so"
    subprocess.run([*(gate.compiler() or []), "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    net, state = ctypes.CDLL(str(library)), ctypes.create_string_buffer(16384)
    row = sample.test_images[0, 0].ctypes.data_as(ctypes.c_void_p)
    for rows in (0, 1, 31, 33, 64):
        net.net_begin(state)
        for _ in range(rows):
            net.net_row(state, row)
        logits = np.full(10, 7, np.int32)
        assert net.net_end(state, logits.ctypes.data_as(ctypes.c_void_p)) == -1
        assert (logits == 7).all()


def test_an_exported_file_becomes_a_folder_beside_it(sample: Dataset, tmp_path: Path) -> None:
    file = tmp_path / INT8
    file.write_bytes(released(f"export/gn-cnn/{INT8}").read_bytes())
    command = ["export", str(file), "--target", "c", "--name", "net", "--kernels", "generic"]
    result = CliRunner().invoke(main, [*command, "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["targets"]["c"]["outcomes"][0]["images"] == 750
    assert {path.name for path in tmp_path.iterdir()} == {INT8, "net.c"}
    assert {"net.h", "net.c"} <= {path.name for path in (tmp_path / "net.c").iterdir()}
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    said = f"Error: {tmp_path / 'net.c'} exists; remove it, or give another folder with --out\n"
    assert result.stderr == said, "nothing was done before"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--name", "int"], "'int' is not an identifier of C"),
        (["--name", "2nd"], "'2nd' is not an identifier of C"),
        (["--name", "string"], "'string' is not an identifier of C: letters, digits and _, and no keyword or name"),
        (["--name", "selftest"], "'selftest' is not an identifier of C"),
        (["--name", "my_add"], "'my_add' is not an identifier of C"),
        (["--name", "net_camera"], "'net_camera' is not an identifier of C"),  # whose header is that of net's camera
        (["--kernels", "genric"], "no kernels are called 'genric' (did you mean generic?)"),
    ],
)
def test_impossible_options_are_one_line(option: list[str], message: str, tmp_path: Path) -> None:
    file = released(f"export/gn-cnn/{INT8}")
    result = CliRunner().invoke(main, ["export", str(file), "--target", "c", "--out", str(tmp_path / "out"), *option])
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_without_a_compiler_it_is_not_compared(
    gn_cnn: IntegerNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gate, "find_spec", lambda name: None)
    file = released(f"export/gn-cnn/{INT8}")
    result = CliRunner().invoke(main, ["export", str(file), "--target", "c", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.stderr
    assert "not compared here in C: there is no C compiler; install gcc or clang" in result.stdout
    assert (tmp_path / "out" / "gn-cnn.c" / "gn_cnn.c").exists()


def test_a_compiler_that_fails_is_one_line_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    file = released(f"export/gn-cnn/{INT8}")
    result = CliRunner().invoke(main, ["export", str(file), "--target", "c", "--out", str(tmp_path / "out")])
    assert result.exit_code == 3
    assert "the C compiler false fails: it says nothing; nothing was written" in result.stderr
    assert not (tmp_path / "out").exists()


def test_texts_of_the_metadata_stay_texts(gn_cnn: IntegerNetwork, tmp_path: Path) -> None:
    """Labels and digest, which a file from elsewhere says, are no C, whatever is in them."""
    labels = (
        "a (network)",
        "@TABLES@",
        "*/ int x; /*",
        "network_run",
        'quote"\\',
        "??/",
        "ä\n",
        "network.c",
        "%s",
        "NETWORK_H",
    )
    about = replace(ABOUT, labels=labels, weights_sha256="*/\nint x;/* ")
    files = TARGETS["c"].write(gn_cnn, about, target_options(["c"], {})["c"])
    sources = gate.write_sources(files, tmp_path)
    library = gate.build(
        gate.compiler() or [], sources[:1], tmp_path / "net.so", ("-shared", "-fPIC", "-Wall", "-Werror")
    )
    found = (ctypes.c_char_p * len(labels)).in_dll(ctypes.CDLL(str(library)), "gn_cnn_labels")
    assert tuple(label.decode() for label in found if label) == labels


def test_sums_beyond_32_bits_cannot_be_done() -> None:
    weights, bias = np.full((1, 3, 1, 1), 127, np.int8), np.array([2**31 - 1000], np.int32)
    conv = Conv(weights, np.ones(1, np.float32), bias, (1, 1), (0, 0, 0, 0), 1, Quantization(np.float32(1)))
    head = Linear(np.ones((2, 1024), np.int8), None, np.zeros(2, np.int32), None)
    network = IntegerNetwork(32, (conv, head), np.float32(1))
    with pytest.raises(TypeError, match="the sums of Conv-1 do not fit into 32 bits"):
        TARGETS["c"].write(network, ABOUT, target_options(["c"], {})["c"])
    conv = replace(conv, bias=np.zeros(1, np.int32), scales=np.full(1, 1e8, np.float32))
    with pytest.raises(TypeError, match="the sums of Conv-1 times its scales do not fit into 32 bits"):
        TARGETS["c"].write(replace(network, layers=(conv, head)), ABOUT, target_options(["c"], {})["c"])
