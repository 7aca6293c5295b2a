"""Images a second of the augmentation for photographs, beside torchvision's transforms v2, on one thread.

Both take resized crops of 64x64 of 96x96 pixels, mirror half, and change brightness and contrast. torchvision draws one
crop a call, so it is called once an image, as a data loader does; once a batch all images would share one crop.

    python -m benchmarks.own_images.augmentation
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

from cifar_edge.runs.recipe import Recipe
from cifar_edge.training.augmentation import augmented_by

BATCH = 32
ROUNDS = 40
RECIPE = Recipe(size=64, resized_crop=0.4, brightness=0.3, contrast=0.3)


def main() -> None:
    """Measure both, and print them and their ratio."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 96, 96, 3), dtype=torch.uint8, generator=generator)
    transforms = v2.Compose(
        [
            v2.RandomResizedCrop(64, scale=(0.4, 1), ratio=(1 / 1.2, 1.2), antialias=False),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.3, contrast=0.3),
        ]
    )
    planes = images.permute(0, 3, 1, 2).contiguous()

    def by_torchvision() -> Tensor:
        return torch.stack([transforms(image) for image in planes])

    ours, theirs = _rate(lambda: augmented_by(RECIPE, images, generator)), _rate(by_torchvision)
    for name, rate in (("cifar-edge", ours), ("torchvision", theirs)):
        print(f"{name:<12}{rate:8,.0f} images/s")
    print(f"{'ratio':<12}{ours / theirs:8.1f}")


def _rate(augment: Callable[[], Tensor]) -> float:
    augment()
    began = time.process_time()
    for _ in range(ROUNDS):
        augment()
    return ROUNDS * BATCH / (time.process_time() - began)


if __name__ == "__main__":
    main()
