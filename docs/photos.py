"""Photographs to try own classes with: the embedded sample of CIFAR-10 in two classes that are not its own.

Writes 60 images to learn from and 250 to be judged by: photos/train/animal/*.png, photos/test/vehicle/*.png, ...
"""

from pathlib import Path

import numpy as np
from PIL import Image

from cifar_edge.data import load_dataset

VEHICLES = {"airplane", "automobile", "ship", "truck"}
EACH = 6  # images to learn from, of each of the ten classes

sample = load_dataset("sample")
learn = np.concatenate([np.flatnonzero(sample.train_labels == label)[:EACH] for label in range(len(sample.labels))])
parts = {
    "train": (sample.train_images[learn], sample.train_labels[learn]),
    "test": (sample.test_images, sample.test_labels),
}
for part, (images, labels) in parts.items():
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        name = sample.labels[label]
        folder = Path("photos", part, "vehicle" if name in VEHICLES else "animal")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number:03}-{name}.png")
