"""Networks as others publish them, in plain PyTorch."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor, nn


class ResNet8(nn.Module):
    """MLPerf Tiny's ResNet-8 for CIFAR-10, with the weights of a float ``.tflite``; pixels in, without any map.

    Its batch norms are merged already. TensorFlow pads a stride of 2 on the right and at the bottom alone.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        tensors = _tensors(file)
        widths = [(3, 16, 3), (16, 16, 3), (16, 16, 3), (16, 32, 3), (32, 32, 3), (16, 32, 1), (32, 64, 3), (64, 64, 3)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel, 1 + (before < after and before > 3))
            for before, after, kernel in [*widths, (32, 64, 1)]
        )
        self.head = nn.Linear(64, 10)
        for module, (weight, bias) in zip([*self.convolutions, self.head], tensors, strict=True):
            module.load_state_dict({"weight": weight.reshape(module.weight.shape), "bias": bias})

    def forward(self, x: Tensor) -> Tensor:
        """Logits of float32 ``[batch, 3, 32, 32]``, 0 to 255."""
        x = F.relu(self._same(0, x))
        x = F.relu(x + self._same(2, F.relu(self._same(1, x))))
        for first in (3, 6):
            inner = self._same(first + 1, F.relu(self._same(first, x)))
            x = F.relu(self.convolutions[first + 2](x) + inner)
        logits: Tensor = self.head(torch.flatten(F.avg_pool2d(x, 8), 1))
        return logits

    def _same(self, index: int, x: Tensor) -> Tensor:
        before = 0 if self.convolutions[index].stride == (2, 2) else 1
        padded: Tensor = self.convolutions[index](F.pad(x, (before, 1, before, 1)))
        return padded


def _tensors(file: Path) -> list[tuple[Tensor, Tensor]]:
    """Weight, in PyTorch's order, and bias of each convolution and Linear of a float ``.tflite``, in their order."""
    content = file.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]

    def tensor(index: int) -> Tensor:
        found: Any = graph.tensors[index]
        data = torch.frombuffer(bytearray(bytes(model.buffers[found.buffer].data)), dtype=torch.float32)
        return data.reshape(tuple(int(size) for size in found.shape))

    weighted = [operator for operator in graph.operators if len(operator.inputs) == 3]
    pairs = [(tensor(operator.inputs[1]), tensor(operator.inputs[2])) for operator in weighted]
    return [(weight.permute(0, 3, 1, 2) if weight.dim() == 4 else weight, bias) for weight, bias in pairs]


class _Basic(nn.Module):
    """A residual of ResNet-20 (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential()
        if before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += self.downsample(x)
        activated: Tensor = self.relu(out)
        return activated


def resnet20() -> nn.Module:
    """ResNet-20 for CIFAR-10."""
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [_Basic(before, after) for before, after in pairwise(widths)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mobilenet_v1(width: float = 0.25) -> nn.Module:
    """MobileNetV1 (Howard et al. 2017, arXiv:1704.04861), its first stride left out for images of 32x32."""
    steps = [(32, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    channels = [3, *(int(width * channels) for channels, _ in steps)]
    layers = [nn.Conv2d(3, channels[1], 3, 1, 1, bias=False), nn.BatchNorm2d(channels[1]), nn.ReLU6()]
    for before, after, (_, stride) in zip(channels[1:], channels[2:], steps[1:], strict=False):
        layers += [
            nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False),
            nn.BatchNorm2d(before),
            nn.ReLU6(),
        ]
        layers += [nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU6()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Dropout(0.1), nn.Flatten(), nn.Linear(channels[-1], 10))


def vgg(norm: Callable[[int], nn.Module]) -> nn.Module:
    """A small VGG (Simonyan & Zisserman 2015, arXiv:1409.1556) with norms, and two Linear layers."""
    layers: list[nn.Module] = []
    before = 3
    for width in (16, 32, 64):
        for _ in range(2):
            layers += [nn.Conv2d(before, width, 3, padding=1), norm(width), nn.ReLU(inplace=True)]
            before = width
        layers.append(nn.MaxPool2d(2))
    classifier = [nn.Flatten(), nn.Linear(64 * 16, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 10)]
    return nn.Sequential(*layers, *classifier)


class _Inverted(nn.Module):
    """An inverted residual (Sandler et al. 2018, arXiv:1801.04381)."""

    def __init__(self, before: int, after: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = before * expansion
        self.expand = nn.Sequential(nn.Conv2d(before, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6())
        depthwise = nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False)
        self.depthwise = nn.Sequential(depthwise, nn.BatchNorm2d(inner), nn.ReLU6())
        self.project = nn.Sequential(nn.Conv2d(inner, after, 1, bias=False), nn.BatchNorm2d(after))
        self.skips = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + found if self.skips else found


_STAGES = (
    (8, 1, [(1, 3)]),
    (16, 2, [(3, 7), (5, 3), (5, 7), (4, 5)]),
    (24, 2, [(5, 5), (5, 5), (5, 5)]),
    (40, 2, [(5, 3), (6, 7), (4, 5)]),
    (48, 1, [(5, 5), (5, 7), (5, 3)]),
    (96, 2, [(5, 3), (6, 7), (5, 3)]),
)
"""Width, stride of the first, and (expansion, kernel) of each inverted residual."""


def mcunet(classes: int = 10) -> nn.Module:
    """A network of MCUNet's kind (Lin et al. 2020, arXiv:2007.10319), one stride left out for images of 32x32.

    Inverted residuals with kernels of 3, 5 and 7 and other expansions in each, as its search finds them.
    """
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
    before = 16
    for width, stride, blocks in _STAGES:
        for index, (expansion, kernel) in enumerate(blocks):
            layers.append(_Inverted(before, width, expansion, kernel, stride if index == 0 else 1))
            before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))
