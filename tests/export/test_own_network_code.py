"""Code that people write in the forward of a network: what may be asked there, and what is one line."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import Compose, Normalize, v2

import cifar_edge.export as edge
from cifar_edge.data import Dataset
from cifar_edge.errors import ExportError


class Network(nn.Module):
    """A convolution and a head; what is done with the image, and then with them, is ``code``'s."""

    def __init__(self, code: Callable[["Network", Tensor], Tensor], then: nn.Module | None = None) -> None:
        super().__init__()
        self.code, self.then = code, then or nn.Identity()
        self.first, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.code(self, x)

    def logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(F.relu(self.first(x)).mean((2, 3)))
        return logits


class Unnamed(Network):
    def forward(self, *inputs: Tensor) -> Tensor:
        return self.logits(inputs[0])


def asks_for_shapes(network: Network, x: Tensor) -> Tensor:
    assert x.shape[1] == 3, "an image has three channels"
    assert x.dim() == 4
    assert len(x) > 0
    batch, _, height, width = x.size()
    if height != width or x.is_cuda:
        raise ValueError("not square")
    torch._assert(x.ndim == 4, "not a batch")
    x = F.relu(network.first(x))
    for _ in range(x.shape[1] // 8):
        x = F.relu(x)
    logits: Tensor = network.head(x.mean((2, 3)).reshape(batch, 8))
    return logits


def makes_modules(network: Network, x: Tensor) -> Tensor:
    logits: Tensor = network.head(nn.Flatten()(nn.AdaptiveAvgPool2d(1)(nn.ReLU()(network.first(x)))))
    return logits


def makes_constants(network: Network, x: Tensor) -> Tensor:
    return network.logits(x * torch.tensor([0.4, 0.5, 0.6], device=x.device, dtype=x.dtype).view(1, -1, 1, 1))


class Keeping(Network):
    features: Any

    def forward(self, x: Tensor) -> Tensor:
        self.features = F.relu(self.first(x))
        logits: Tensor = self.head(self.features.mean((2, 3)))
        return logits


def pools(network: Network, x: Tensor) -> Tensor:
    logits: Tensor = network.head(network.then(F.relu(network.first(x))).mean((2, 3)))
    return logits


ACCEPTED: dict[str, Callable[[], Network]] = {
    "shapes": lambda: Network(asks_for_shapes),
    "modules made in forward": lambda: Network(makes_modules),
    "constants made in forward": lambda: Network(makes_constants),
    "activations that are kept": lambda: Keeping(asks_for_shapes),
    "ceil_mode without a difference": lambda: Network(pools, nn.MaxPool2d(2, ceil_mode=True)),
    "count_include_pad without padding": lambda: Network(pools, nn.AvgPool2d(2, count_include_pad=False)),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_code_is_traced_and_the_network_stays_as_it_is(sample: Dataset, name: str) -> None:
    torch.manual_seed(0)
    network = ACCEPTED[name]().eval()
    attributes = set(vars(network)) | ({"features"} if isinstance(network, Keeping) else set())
    folded = edge.fold(network, sample.train_images[:8], mean=120, std=60)
    images = sample.test_images[:20]
    wanted, found = (edge.torch_logits(each, images) for each in (folded.origin.traced, folded))
    assert abs(edge.torch_logits(folded.origin.network, images) - wanted).max() < 1e-5
    assert abs(found - wanted).max() < (1e-5 if folded.origin.exact else 0.1)
    assert set(vars(network)) == attributes
    assert isinstance(getattr(network, "features", torch.ones(1)), Tensor)


MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)
TAKE_OUT = r"Normalize of torchvision cannot be traced; take it out, and give mean=\(127.5, 102, 76.5\) and std=\(51, "


def normalizes(network: Network, x: Tensor) -> Tensor:
    return network.logits(network.then(x))


REFUSED: dict[str, Callable[[], nn.Module]] = {
    f"^then: {TAKE_OUT}": lambda: Network(normalizes, Normalize(MEAN, STD)),
    f"^then: {TAKE_OUT}51, 51.": lambda: Network(normalizes, v2.Normalize(MEAN, STD)),
    f"^forward: {TAKE_OUT}": lambda: Network(lambda network, x: network.logits(Compose([Normalize(MEAN, STD)])(x))),
    "^forward: transforms of torchvision cannot be traced; .* give a Normalize as mean and std": lambda: Network(
        lambda network, x: network.logits(v2.functional.normalize(x, MEAN, STD))
    ),
    "cannot trace .* must not depend on the images": lambda: Network(
        lambda network, x: network.logits(x if x.mean() > 0 else -x)
    ),
    r"names no input without a default; write forward\(self, x\)": lambda: Unnamed(normalizes),
    "is a TopLevelTracedModule; give the module that it was made of": lambda: torch.jit.trace(
        Network(asks_for_shapes).eval(), torch.zeros(2, 3, 32, 32)
    ),
    "or a hook its output; leave out": lambda: hooked(Network(pools)),
}


def hooked(network: Network) -> Network:
    network.first.register_forward_hook(lambda module, inputs, output: 2 * output)
    return network


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("message", REFUSED)
def test_code_that_cannot_be_traced_is_one_line(sample: Dataset, message: str) -> None:
    with pytest.raises(ExportError) as caught:
        edge.fold(REFUSED[message]().eval(), sample.train_images[:8])
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)
