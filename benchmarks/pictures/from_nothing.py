"""A network of timm with some 570,000 parameters, trained from random weights on a folder of photographs.

    python -m benchmarks.pictures.from_nothing DIR

For the table of bigger networks in docs/own-classes.md. It needs ``pip install timm``, which brings no trained
weights. Images, augmentation, steps and images a step are those of `cifar-edge train`, but for a size of 128x128, since
the network halves it five times; AdamW at 0.001 with a tenth of the steps as warm-up, then cosine. DIR has ``train/``
and ``test/``. One thread; the latency is the time of the processor, for one image, in onnxruntime.
"""

import argparse
from statistics import mean, median
from time import process_time

import timm
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.pictures.transfer import features_of, macs_of, onnx_of, session_of
from cifar_edge.data import Dataset, load_dataset
from cifar_edge.measure.timing import machine, session_run
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.training.augmentation import augmented_by, sources_of
from cifar_edge.training.own_images import recipe_for_images, with_steps

NETWORK = "mobilenetv3_small_050"
SIZE = 128
SEEDS = (0, 1, 2)
_RATE, _WEIGHT_DECAY, _WARMUP = 1e-3, 0.05, 0.1
_RUNS = 50

RECIPE = recipe_for_images("gn-cnn", [SIZE]).with_values(size=SIZE)


def trained(dataset: Dataset, seed: int) -> nn.Module:
    """The network after its training."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network: nn.Module = timm.create_model(NETWORK, pretrained=False, num_classes=len(dataset.labels))
    images, labels = torch.from_numpy(sources_of(RECIPE, dataset)), torch.from_numpy(dataset.train_labels).long()
    budget = with_steps(RECIPE, len(images))
    steps = budget.epochs * budget.steps_per_epoch
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps, pct_start=_WARMUP)
    for _ in range(steps):
        batch = torch.randint(len(images), (RECIPE.batch_size,), generator=generator)
        inputs = pixels_to_input(augmented_by(RECIPE, images[batch], generator))
        loss = F.cross_entropy(network(inputs), labels[batch], label_smoothing=RECIPE.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def main() -> None:
    """Train once for each seed, and print."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.pictures.from_nothing", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("folder", metavar="DIR")
    given = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load_dataset(given.folder, size=SIZE, source_size=RECIPE.source_size)
    accuracies = []
    for seed in SEEDS:
        start = process_time()
        network = trained(dataset, seed)
        seconds = process_time() - start
        right = features_of(network, dataset.test_images).argmax(1) == dataset.test_labels
        accuracies.append(float(right.mean()))
        print(f"seed {seed}: {accuracies[-1]:.1%} of {len(right)} test images, {seconds:.0f} s", flush=True)
    content = onnx_of(network, SIZE)
    call = session_run(session_of(content), dataset.test_images[:1])
    times = []
    for _ in range(_RUNS):
        start = process_time()
        call()
        times.append(process_time() - start)
    print(machine())
    print(
        f"{NETWORK}, {SIZE}x{SIZE}: mean {mean(accuracies):.1%}, "
        f"{sum(parameter.numel() for parameter in network.parameters()):,} parameters, "
        f"{macs_of(network, SIZE) / 1e6:.1f} million MACs, {len(content) / 1e3:,.1f} kB, {median(times) * 1e6:,.0f} us"
    )


if __name__ == "__main__":
    main()
