"""Any plain network is traced, folded exactly where it can be, and refused in one line where it cannot."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from export_helpers import train
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet18

from cifar_edge.data import Dataset
from cifar_edge.errors import ExportError
from cifar_edge.export import torch_logits
from cifar_edge.folding.traced import TracedNetwork, fold_network
from cifar_edge.models.pixels import pixels_to_input

GREY, SCALE = (128.0,) * 3, (64.0,) * 3


def with_statistics(network: nn.Module, sample: Dataset) -> nn.Module:
    """``network`` in evaluation mode, with statistics of the sample, and norms that are no identities."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    with torch.no_grad():
        network.train()(pixels_to_input(torch.tensor(sample.train_images[:64])))
    return network.eval()


class Functions(nn.Module):
    """Layers as functions and methods, several Linear layers, pre-activation, clips of every form."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.first = nn.Conv2d(3, 8, 3, padding="same", bias=False)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.middle = nn.BatchNorm2d(8)
        self.project = nn.Conv2d(8, 12, 1, 2)
        self.branch = nn.Conv2d(8, 12, 3, 2)
        self.features = nn.Linear(12 * 16, 20)
        self.flat_norm = nn.BatchNorm1d(20)
        self.head = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardtanh(self.first(self.norm(x)), -0.8, 1.5)
        x = x + self.second(F.relu(self.middle(x)))
        x = F.max_pool2d(x, 2).clamp(min=0, max=2.5)
        x = torch.add(self.project(x), self.branch(F.pad(x, (1, 1, 1, 1))))
        x = F.avg_pool2d(torch.relu(x), 2)
        x = F.dropout(x, 0.5, self.training).view(x.size(0), -1)
        logits: Tensor = self.head(F.relu6(self.flat_norm(self.features(x))))
        return logits


class Stems(nn.Module):
    """A stem of 1x1 logits, averaged over the image, whose sums have three terms."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6(inplace=True))
        self.one, self.three = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(3))
        self.logits = nn.Conv2d(8, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.norms[0](self.one(x)) + self.norms[1](self.three(x)) + self.norms[2](x)
        logits: Tensor = self.logits(F.relu(x))
        return logits.mean((2, 3))


class ChannelsLast(nn.Module):
    """A residual whose Linear layers read channels that come last, as in ConvNeXt, with a norm or none."""

    def __init__(self, norm: Callable[[int], nn.Module] = lambda channels: nn.Identity()) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.norm, self.grow, self.shrink = norm(16), nn.Linear(16, 24), nn.Linear(24, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        inner = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        inner = self.shrink(F.relu(self.grow(inner)))
        x = x + torch.permute(inner, [0, -1, 1, 2])
        logits: Tensor = self.head(F.relu(x).mean((2, 3)))
        return logits


class Constants(nn.Module):
    """Numbers, and numbers a channel, on either side: of the image, of a branch, of flat features, channels last."""

    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("std", torch.full((3,), 0.3))
        self.stem, self.middle = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.last, self.head = nn.Linear(8, 8), nn.Linear(8, 10)
        self.gamma, self.scale = nn.Parameter(torch.rand(8, 1, 1) - 0.5), nn.Parameter(torch.rand(8))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(1 - self.stem((x - 0.25) / self.std.view(1, 3, 1, 1)) * 0.5)
        x = x * 2 + self.gamma * self.middle(x + 0.1)
        x = (self.scale * self.last(x.permute(0, 2, 3, 1)) - self.scale).permute(0, 3, 1, 2)
        logits: Tensor = self.head(self.scale.mul(F.relu(x).mean((2, 3)))) / 3 + self.head.bias
        return logits


class OwnNorm(nn.BatchNorm2d):
    """A subclass without a forward of its own."""


class Shortcuts(nn.Module):
    """A ResNet whose shortcuts have no weights: every second pixel, channels of zeros (He et al. 2016, option A)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), OwnNorm(8)
        self.wider, self.norms = nn.Conv2d(8, 16, 3, 2, 1), nn.ModuleList([nn.SyncBatchNorm(16), nn.BatchNorm2d(16)])
        self.same = nn.Conv2d(16, 16, 3, 2, 1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor, features: bool = False, scale: float | None = None) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(self.norms[0](self.wider(x)) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 6), "constant", 0))
        x = F.relu(self.norms[1](self.same(x)) + x[:, :, ::2, ::2])
        x = F.avg_pool2d(x, x.size()[3]).view(x.size(0), -1)
        logits: Tensor = x if features else self.head(x)
        return logits


class Paddings(nn.Module):
    """Paddings before layers that pad nothing themselves, and one behind the other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pad = nn.Conv2d(3, 8, 3, 2), nn.ConstantPad2d((1, 0, 1, 0), 0.0)
        self.norm, self.inner = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)
        self.last, self.head = nn.Conv2d(8, 8, 3, 2), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.pad(self.stem(self.pad(F.pad(x, (0, 1, 0, 1)))), (1, 1, 1, 1)), 3, 2)
        x = F.pad(x, (1, 1))
        x = F.pad(x + self.inner(x), (0, 1, 0, 1))
        x = self.last(F.relu(self.norm(x)))
        logits: Tensor = self.head(x.mean(3).mean(2))
        return logits


class Flat(nn.Module):
    """Residuals of flat features, and an activation behind the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layers = nn.Conv2d(3, 8, 4, 4), nn.ModuleList(nn.Linear(32, 32) for _ in range(3))
        self.norm, self.head = nn.BatchNorm1d(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(self.stem(x), 2)
        x = F.relu(pooled.flatten(1) + self.layers[0](pooled.flatten(1)))
        x = x + self.layers[1](F.relu(x))
        norm = self.norm
        x = F.batch_norm(self.layers[2](x), norm.running_mean, norm.running_var, None, norm.bias)
        return F.relu6(self.head(x))


class Named(nn.Module):
    """Arguments by name, and means over a flattened image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(input=x.float(), weight=self.stem.weight, bias=self.stem.bias, stride=2)
        x = torch.add(input=torch.clamp(input=x, min=-1.0, max=2.0), other=self.inner(input=x), alpha=1)
        x = torch.sub(x, other=0.1).amax((2, 3), keepdim=True)[:, :, 0, 0] + x.flatten(2).mean(-1)
        logits: Tensor = self.head(input=torch.flatten(input=x, start_dim=1))
        return logits


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "constants": Constants,
    "shortcuts": Shortcuts,
    "paddings": Paddings,
    "flat": Flat,
    "named": Named,
    "functions": Functions,
    "stems": Stems,
    "channels last": ChannelsLast,
    "resnet18": partial(resnet18, num_classes=10),
    "mobilenet": partial(mobilenet_v2, num_classes=10, width_mult=0.35),
}


def folded(network: nn.Module, sample: Dataset, mean: tuple[float, ...] = GREY) -> TracedNetwork:
    return fold_network(network, torch.tensor(sample.train_images[:64]), mean, SCALE)


@pytest.mark.parametrize("mean", [128.0, 117.0])
@pytest.mark.parametrize("name", NETWORKS)
def test_folding_is_exact(sample: Dataset, name: str, mean: float) -> None:
    network = with_statistics(NETWORKS[name](), sample)
    made = folded(network, sample, (mean,) * 3)
    images = sample.test_images[:40]
    x = (torch.tensor(images).permute(0, 3, 1, 2).contiguous() - mean) / 64
    with torch.no_grad():
        wanted = network(x).numpy()
    assert made.origin.exact
    assert np.abs(torch_logits(made, images) - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert np.abs(wanted - wanted.mean(0)).max() > 1e-3  # the answers depend on the images


def test_channels_of_different_means_pad_by_the_nearest_pixel(sample: Dataset) -> None:
    network = with_statistics(Stems(), sample)
    made = folded(network, sample, (124.0, 117.0, 104.0))
    wanted = torch_logits(made.origin.network, sample.test_images[:40])
    lost = np.abs(torch_logits(made, sample.test_images[:40]) - wanted).max() / np.abs(wanted).max()
    assert not made.origin.exact
    assert 0 < lost < 0.1


def test_fitted_norms_keep_most_classes(sample: Dataset) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, 2, 1),
        nn.LayerNorm([24, 8, 8]),
        nn.ReLU(),
        nn.Conv2d(24, 32, 3, 1, 1),
        nn.GroupNorm(4, 32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    train(network, sample)
    made = folded(network.eval(), sample)
    wanted, found = torch_logits(network, sample.test_images), torch_logits(made, sample.test_images)
    assert not made.origin.exact
    assert not [module for module in made.modules() if "Norm" in type(module).__name__]
    assert np.mean(found.argmax(1) == wanted.argmax(1)) > 0.5


class OwnGroupNorm(nn.GroupNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class InstanceNormFunction(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.instance_norm(x)


@pytest.mark.parametrize(
    ("own", "module"),
    [
        (OwnGroupNorm(4, 16), nn.GroupNorm(4, 16)),
        (InstanceNormFunction(), nn.InstanceNorm2d(16)),
    ],
)
def test_norms_as_functions_are_fitted_as_modules_are(sample: Dataset, own: nn.Module, module: nn.Module) -> None:
    answers = []
    for norm in (own, module):
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 16, 3, 2, 1), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
        answers.append(torch_logits(folded(nn.Sequential(*layers).eval(), sample), sample.test_images[:20]))
    assert np.array_equal(answers[0], answers[1])


@pytest.mark.parametrize("norm", [nn.LayerNorm, partial(nn.LayerNorm, elementwise_affine=False)])
def test_a_norm_between_permutes_is_fitted(sample: Dataset, norm: Callable[[int], nn.Module]) -> None:
    torch.manual_seed(0)
    network = ChannelsLast(norm)
    train(network, sample)
    network.eval()
    made = folded(network, sample)
    traced, wanted = (torch_logits(each, sample.test_images) for each in (made.origin.traced, made.origin.network))
    assert np.abs(traced - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert np.mean(torch_logits(made, sample.test_images).argmax(1) == wanted.argmax(1)) > 0.8


def test_layers_have_the_names_of_their_modules(sample: Dataset) -> None:
    made = folded(with_statistics(resnet18(num_classes=10), sample), sample)
    names = [name for name in made.origin.names if name]
    assert [name for name in names if name.startswith("layer2.0")] == [
        "layer2.0",
        "layer2.0.conv1",
        "layer2.0.conv2",
        "layer2.0.downsample.0",
    ]


class Wrong(nn.Module):
    """A convolution, what ``then`` makes of it, and a head."""

    def __init__(self, then: nn.Module) -> None:
        super().__init__()
        self.first, self.then = nn.Conv2d(3, 8, 3, 1, 1), then
        features = torch.flatten(then(torch.zeros(2, 8, 32, 32)), 1).shape[1]
        self.head = nn.Linear(features, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.flatten(self.then(self.first(x)), 1))
        return logits


class Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((2, 3), keepdim=True)


class Cat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x], 1)


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.mean() > 0 else -x


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.same(self.same(x)))


class Transpose(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class Crossing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(8, 8, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        return cast(Tensor, self.b(a) + (a + self.c(x)))


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu, self.a = nn.ReLU(inplace=True), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.a(self.relu(x)) + x)


class Permute(nn.Module):
    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(*self.order)


class Function(nn.Module):
    """A function of an activation, for what is refused."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Twofold(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x


class Place(nn.Module):
    """A factor of each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.rand(8, 32, 32))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factors


class Inverse(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 1 / x


REFUSED = {
    "then: a SiLU .* nn.ReLU": nn.SiLU(),
    "then.1: a Hardswish": nn.Sequential(nn.ReLU(), nn.Hardswish()),
    "then: a mul .* squeeze-and-excitation": Gate(),
    "then: a cat .* add the branches": Cat(),
    "cannot trace the network in then: .*depend on the images": Branch(),
    "then.same: this module is called twice": Twice(),
    "branches of the network cross": Crossing(),
    "in place": InPlace(),
    "then: an add of an output to itself .* write 2 . x": Twofold(),
    "then: an add of anything but": Function(lambda x: x + x.mean((2, 3), keepdim=True)),
    "then: a sub .* only sums join them": Function(lambda x: x - F.relu(x)),
    "then: a sigmoid .* squeeze-and-excitation": Function(torch.sigmoid),
    "then: a padding by negative numbers": Function(lambda x: F.pad(x, (-1, -1, -1, -1))),
    "then: an index .* only x": Function(lambda x: x[:, :4]),
    "then: an AvgPool2d with count_include_pad=False": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "then: arithmetic with anything but a constant": Place(),
    "then: a division by an activation": Inverse(),
    "then: a ConvTranspose2d .* lists the layers": nn.ConvTranspose2d(8, 8, 2, 2),
    "then: a Conv2d with dilation": nn.Conv2d(8, 8, 3, dilation=2),
    "then: a Conv2d that pads by reflect": nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
    "then: a MaxPool2d with ceil_mode": nn.MaxPool2d(3, 2, ceil_mode=True),
    "then: an adaptive pool from 32x32 to 7x7": nn.AdaptiveAvgPool2d(7),
    "then: a permute to .0, 1, 3, 2. .* permute.0, 2, 3, 1.,": Permute(0, 1, 3, 2),
    "then: a transpose .* move the channels by permute": Transpose(),
    "then.1: a MaxPool2d of channels that come last": nn.Sequential(Permute(0, 2, 3, 1), nn.MaxPool2d(2)),
    "then: a Softmax .* leave it out": nn.Softmax(1),
    "then: a clip to a range without 0": nn.Hardtanh(1.0, 2.0),
    "then: a batch norm without running": nn.BatchNorm2d(8, track_running_stats=False),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_integers_cannot_compute_is_one_line(sample: Dataset, message: str) -> None:
    network = Wrong(REFUSED[message])
    with pytest.raises(ExportError) as caught:
        folded(network.eval(), sample)
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)
