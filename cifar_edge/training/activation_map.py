"""Class activation maps: where in an image a network finds evidence for a class.

A network that ends in a global average pool and a linear head adds up evidence by place: with features f(x, y) and the
head's weights w and bias b, the logit is the mean over all places of w * f(x, y) + b. That sum is the map, exactly
(Zhou et al. 2016, arXiv:1512.04150).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cifar_edge.models.pixels import pixels_to_input

_BATCH = 64


def activation_maps(network: nn.Module, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32] | None:
    """The maps of all classes, float32 ``[n, classes, h, w]``: their mean over h and w is the logit of the class.

    Args:
        network: in evaluation mode.
        images: uint8 ``[n, S, S, 3]``, RGB.

    Returns:
        The maps, or None if the network does not end in a global average pool and a linear head.
    """
    modules = list(network.modules())
    pools = [module for module in modules if isinstance(module, nn.AdaptiveAvgPool2d)]
    heads = [module for module in modules if isinstance(module, nn.Linear)]
    if not pools or not heads or not isinstance(modules[-1], nn.Linear):
        return None
    pool, head = pools[-1], heads[-1]
    features: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        features.append(inputs[0])

    device = head.weight.device
    handle = pool.register_forward_pre_hook(keep)
    try:
        with torch.inference_mode():
            for part in torch.from_numpy(images).split(_BATCH):
                network(pixels_to_input(part.to(device)))
            found = torch.cat(features)
            if found.shape[1] != head.in_features:
                return None
            maps = torch.einsum("nfhw,cf->nchw", found, head.weight) + head.bias[:, None, None]
    finally:
        handle.remove()
    return maps.cpu().numpy()
