"""To try own classes with: the cats and dogs of the embedded sample, as pets/cat/*.png and pets/dog/*.png."""

from pathlib import Path

from PIL import Image

from cifar_edge.data import load_dataset

sample = load_dataset("sample")
for number, (pixels, label) in enumerate(zip(sample.train_images, sample.train_labels, strict=True)):
    folder = Path("pets", sample.labels[label])
    if folder.name in {"cat", "dog"}:
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
