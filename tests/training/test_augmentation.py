import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar_edge.data import Dataset
from cifar_edge.training.augmentation import augment, mixtures_of, relight
from cifar_edge.training.checkpoint import new_generator


def test_nothing_asked_gives_the_images_themselves(sample: Dataset) -> None:
    images = torch.from_numpy(sample.train_images)
    assert torch.equal(augment(images, new_generator(0), crop=0, flip=False, cutout=0), images)


def test_a_crop_is_a_window_of_the_reflected_image(sample: Dataset) -> None:
    images = torch.from_numpy(sample.train_images[:60])
    shifted = augment(images, new_generator(1), crop=4, flip=False, cutout=0).numpy()
    padded = np.pad(images.numpy(), ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    offsets = set()
    for image, around in zip(shifted, padded, strict=True):
        matches = [(y, x) for y in range(9) for x in range(9) if np.array_equal(around[y : y + 32, x : x + 32], image)]
        assert matches
        offsets.update(matches)
    assert len(offsets) > 20


def test_half_of_the_images_are_mirrored(sample: Dataset) -> None:
    images = torch.from_numpy(sample.train_images)
    seen = augment(images, new_generator(2), crop=0, flip=True, cutout=0)
    mirrored = (seen == images.flip(2)).all(dim=(1, 2, 3))
    same = (seen == images).all(dim=(1, 2, 3))
    assert bool((mirrored | same).all())
    assert 0.4 < mirrored.double().mean().item() < 0.6


@given(side=st.integers(1, 32), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_cutout_greys_one_square_and_nothing_else(side: int, seed: int) -> None:
    images = torch.full((8, 32, 32, 3), 7, dtype=torch.uint8)
    seen = augment(images, new_generator(seed), crop=0, flip=False, cutout=side)
    grey = (seen == 128).all(dim=3)
    assert bool((grey | (seen == 7).all(dim=3)).all())
    for mask in grey:
        rows, columns = torch.where(mask)
        height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
        assert len(rows) == height * width  # a full rectangle
        assert max(height, width) <= side
        assert min(height, width) >= side // 2  # its centre lies in the image


def test_half_of_the_mixtures_are_blends_and_half_have_a_square_of_another_image() -> None:
    values = torch.arange(200, dtype=torch.uint8)
    mixed = mixtures_of(values[:, None, None, None].expand(-1, 32, 32, 3), new_generator(3))
    assert bool((mixed == mixed[..., :1]).all())
    blends, shares = 0, []
    for own, image in zip(values.tolist(), mixed[..., 0], strict=True):
        other = image != own
        if other.all():  # a blend, or a square as large as the image
            blends += 1
            assert len(image.unique()) == 1
        elif other.any():
            rows, columns = torch.where(other)
            assert len(image[other].unique()) == 1
            assert len(rows) == len(rows.unique()) * len(columns.unique())  # a full rectangle
            shares.append(len(rows) / other.numel())
    assert 70 < blends < 130
    assert min(shares) < 0.1 < 0.6 < max(shares)


def test_mixtures_are_as_their_generator_has_it(sample: Dataset) -> None:
    images = torch.from_numpy(sample.train_images)
    first, again, another = (mixtures_of(images, new_generator(seed)) for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, another)


@given(brightness=st.sampled_from([0.0, 0.3, 1.0]), contrast=st.sampled_from([0.0, 0.5, 1.0]), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_each_image_has_a_light_of_its_own(sample: Dataset, brightness: float, contrast: float, seed: int) -> None:
    images = torch.from_numpy(np.concatenate([sample.train_images, sample.test_images[:1]]))
    seen = relight(images, new_generator(seed), brightness=brightness, contrast=contrast)
    generator = new_generator(seed)
    brighter, stronger = ((2 * torch.rand(501, generator=generator) - 1).double().numpy() for _ in range(2))
    for number in (0, 1, 499, 500):
        pixels = (images[number].double().numpy() * (1 + brightness * brighter[number])).clip(0, 255)
        mean = pixels.mean()
        expected = (mean + (pixels - mean) * (1 + contrast * stronger[number])).clip(0, 255)
        assert np.abs(seen[number].double().numpy() - expected).max() <= 0.51
    assert seen.dtype == torch.uint8
    assert (seen is images) == (brightness == contrast == 0)


def test_a_range_of_light_need_not_be_even(sample: Dataset) -> None:
    images = torch.from_numpy(sample.train_images)
    even = relight(images, new_generator(0), brightness=0.25, contrast=0.5)
    assert torch.equal(even, relight(images, new_generator(0), brightness=(0.75, 1.25), contrast=(0.5, 1.5)))
    grey = torch.full((400, 32, 32, 3), 100, dtype=torch.uint8)
    levels = relight(grey, new_generator(1), brightness=(0.3, 0.9), contrast=0.0)[:, 0, 0, 0]
    assert 30 <= levels.min() < 33
    assert 87 < levels.max() <= 90


def test_the_generator_decides(sample: Dataset) -> None:
    images = torch.from_numpy(sample.train_images)

    def seen(*seeds: int) -> torch.Tensor:
        return augment(images, new_generator(*seeds), crop=4, flip=True, cutout=8)

    assert torch.equal(seen(0, 1), seen(0, 1))
    assert not torch.equal(seen(0, 1), seen(0, 2))
    assert not torch.equal(seen(0, 1), seen(1, 1))
