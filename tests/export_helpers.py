"""Networks for the tests of the export: hardly trained, but with norms that matter, and with answers that differ."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn

from cifar_edge.data import Dataset
from cifar_edge.export.targets.gate import Logits
from cifar_edge.folding.fold import can_fold, fold
from cifar_edge.folding.layers import Residual
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.integer import AveragePool, Conv, IntegerNetwork, Layer, Linear, MaxPool, Quantization
from cifar_edge.integer import Residual as IntegerResidual
from cifar_edge.models import build
from cifar_edge.models.pixels import PixelNetwork
from cifar_edge.runs.run import FOLDED_WEIGHTS, SUMMARY, WEIGHTS
from cifar_edge.training.checkpoint import save_folded, save_weights

STEPS = 60
BATCH = 32
NORMS = (nn.GroupNorm, nn.LayerNorm, nn.BatchNorm2d)


def write_run(folder: Path, name: str, sample: Dataset) -> Path:
    """A finished run of the network ``name`` trained for `STEPS` steps on the sample, folded if it can be.

    As initialised the affine of a norm is the identity, and an export that forgot it would pass. Returns ``folder``.
    """
    torch.manual_seed(0)
    network = build(name)
    for module in network.modules():
        if isinstance(module, NORMS):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.1)
    train(network, sample)
    folder.mkdir(parents=True)
    save_weights(folder / WEIGHTS, network.state_dict(), name, sample.labels)
    if can_fold(network):
        folded = fold(network.eval(), torch.tensor(sample.train_images))
        save_folded(folder / FOLDED_WEIGHTS, folded, name, sample.labels)
    summary = {"model": name, "finished": "2026-01-01T00:00:00+00:00", "data": {"name": sample.name, "source": "tests"}}
    (folder / SUMMARY).write_text(json.dumps(summary))
    return folder


def train(network: nn.Module, sample: Dataset) -> None:
    """Some steps of Adam, over the training images again and again."""
    pixels = PixelNetwork(network).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for step in range(STEPS):
        part = torch.arange(BATCH * step, BATCH * (step + 1)) % len(sample.train_labels)
        logits = pixels(torch.tensor(sample.train_images)[part])
        loss = F.cross_entropy(logits, torch.tensor(sample.train_labels)[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


LAYER = st.fixed_dictionaries(
    {
        "channels": st.integers(1, 20),
        "kernel": st.integers(1, 4),
        "stride": st.integers(1, 2),
        "depthwise": st.booleans(),
        "groups": st.sampled_from([1, 1, 2]),
        "residual": st.sampled_from([0, 0, 1, 2]),
    }
)


def build_folded(layers: list[dict[str, int]], classes: int) -> FoldedNetwork:
    """An untrained network of these layers, drawn as `LAYER` says; a residual that does not fit is left out."""
    chain: list[nn.Module] = []
    starts: list[tuple[int, int]] = []  # of each layer: where it begins in `chain`, and its input channels
    channels = 3
    for layer in layers:
        wanted, kernel = layer["channels"], layer["kernel"]
        groups = channels if layer["depthwise"] else layer["groups"]
        wanted = channels if layer["depthwise"] else wanted
        if channels % groups or wanted % groups:
            groups = 1
        stride = layer["stride"]
        starts.append((len(chain), channels))
        chain.append(nn.Conv2d(channels, wanted, kernel, stride, (kernel - 1) // 2, groups=groups))
        channels = wanted
        spanned = min(layer.get("residual", 0), len(starts) - 1)
        start, channels_before = starts[-spanned] if spanned else (len(chain), channels)
        inside = [module for module in nn.Sequential(*chain[start:]).modules() if isinstance(module, nn.Conv2d)]
        kept = all(each.stride == (1, 1) and each.kernel_size[0] % 2 == 1 for each in inside)
        if len(inside) == spanned > 0 and kept and channels_before == channels:
            chain[start:] = [Residual(nn.Sequential(*chain[start:]))]
            starts[-spanned:] = [(start, channels_before)] * spanned
        chain.append(nn.ReLU())
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    return FoldedNetwork(nn.Sequential(*chain, *tail)).eval().requires_grad_(False)


def residual_network() -> nn.Sequential:
    """One with an identity and a projection shortcut, of stride 2, ReLU and ReLU6."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.ReLU6(),
        Residual(nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU6(), nn.Conv2d(16, 16, 3, 1, 1))),
        nn.ReLU(),
        Residual(
            nn.Sequential(nn.Conv2d(16, 24, 3, 2, 1), nn.ReLU(), nn.Conv2d(24, 24, 3, 1, 1)),
            nn.Sequential(nn.Conv2d(16, 24, 1, 2)),
        ),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    )


def depthwise_network() -> nn.Sequential:
    """One with depthwise layers, a linear bottleneck, and a residual that ends without a ReLU."""
    bottleneck = nn.Sequential(
        nn.Conv2d(16, 48, 1), nn.ReLU6(), nn.Conv2d(48, 48, 3, 1, 1, groups=48), nn.ReLU6(), nn.Conv2d(48, 16, 1)
    )
    return nn.Sequential(
        nn.Conv2d(3, 24, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(24, 24, 5, 2, 2, groups=24),
        nn.ReLU(),
        nn.Conv2d(24, 16, 1, groups=2),
        Residual(bottleneck),
        nn.Conv2d(16, 32, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def pool_network() -> nn.Sequential:
    """One with asymmetric padding, both kinds of pool, a pool in a shortcut, and hidden Linear layers."""
    return nn.Sequential(
        nn.ZeroPad2d((0, 2, 1, 0)),
        nn.Conv2d(3, 16, (2, 3), 1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.ZeroPad2d((2, 1, 0, 1)),
        nn.Conv2d(16, 20, (2, 4), 1, groups=4),
        nn.ReLU(),
        nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(20, 24, 3, 1, 1)),
        nn.MaxPool2d((1, 2), 1),
        nn.ReLU(),
        Residual(nn.Sequential(nn.Conv2d(24, 24, 1)), nn.Sequential(nn.MaxPool2d(3, 1, 1))),
        nn.ReLU(),
        nn.AvgPool2d((3, 2), (2, 1), (1, 0)),
        nn.Flatten(),
        nn.Linear(24 * 4 * 6, 32),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(32, 24),
        nn.Linear(24, 10),
    )


def columns_network() -> nn.Sequential:
    """One whose first layer onnxruntime computes in columns of four pixels, before a residual."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1),
        nn.ReLU6(),
        Residual(nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1))),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    )


def growing_network() -> nn.Sequential:
    """One whose residuals, two of them with signs, add far larger values than their shortcuts have."""
    layers = nn.Sequential(
        nn.Conv2d(3, 16, 4, 4),
        nn.ReLU(),
        Residual(nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1))),
        nn.ReLU(),
        Residual(nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1))),
        nn.ReLU(),
        nn.Conv2d(16, 24, 1),
        Residual(nn.Sequential(nn.Conv2d(24, 24, 3, 1, 1, groups=24), nn.ReLU(), nn.Conv2d(24, 24, 1))),
        Residual(nn.Sequential(nn.Conv2d(24, 24, 3, 1, 1, groups=24), nn.ReLU(), nn.Conv2d(24, 24, 1))),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    )
    for module in layers.modules():
        if isinstance(module, Residual):
            for convolution in module.layers.children():
                if isinstance(convolution, nn.Conv2d):
                    convolution.weight.data *= 4
    return layers


NETWORKS = {
    "residuals": residual_network,
    "depthwise": depthwise_network,
    "pools": pool_network,
    "columns": columns_network,
    "growing": growing_network,
}
"""Name -> an untrained network without norms, of ten classes."""


def neighbours(codes: npt.NDArray[np.int8]) -> npt.NDArray[np.int_]:
    """Sums of weights two by two, in the order in which kernels read them: height, width, input channels."""
    rows = np.moveaxis(codes, 1, -1).reshape(len(codes), -1).astype(int)
    if rows.shape[1] % 2:
        rows = np.hstack([rows, np.zeros((len(rows), 1), int)])
    return np.asarray(rows[:, 0::2] + rows[:, 1::2])


def answers(network: IntegerNetwork, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What a file of ``network`` is to answer, bit for bit."""
    return network(images).astype(np.float32) * network.logit_scale


def snr_db(logits: Logits, wanted: npt.NDArray[np.float32]) -> float:
    """The signal-to-noise ratio of ``logits``."""
    noise = float(np.square(logits.astype(np.float64) - wanted).sum())
    return 10 * float(np.log10(np.square(wanted, dtype=np.float64).sum() / max(noise, 1e-30)))


def output_of(layer: Layer, given: Quantization) -> Quantization:
    if isinstance(layer, MaxPool):
        return given
    assert isinstance(layer, Conv | Linear | AveragePool | IntegerResidual)
    return layer.output or given


def numerators(layers: tuple[Layer, ...], given: Quantization) -> list[int]:
    """What `Residual.numerator` is in each residual of ``layers``, inner ones first."""
    found = []
    for layer in layers:
        output = output_of(layer, given)
        if isinstance(layer, IntegerResidual):
            found += numerators(layer.layers, given) + numerators(layer.shortcut, given)
            found.append(layer.numerator(last_output(layer.layers, given), last_output(layer.shortcut, given)))
        given = output
    return found


def last_output(layers: tuple[Layer, ...], given: Quantization) -> Quantization:
    for layer in layers:
        given = output_of(layer, given)
    return given


def residual(scale: float, channels: int = 8) -> Residual:
    """One with a convolution of weights ``scale`` times those of PyTorch."""
    branch = nn.Conv2d(channels, channels, 3, padding=1)
    branch.weight.data *= scale
    return Residual(nn.Sequential(branch))
