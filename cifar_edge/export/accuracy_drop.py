"""What int8 loses, by folding and by rounding, and what the images at hand can tell of that."""

from dataclasses import dataclass

from cifar_edge.export.parity import CONCLUSIVE_IMAGES, Comparison
from cifar_edge.measure.metrics import Estimate


@dataclass(frozen=True, slots=True)
class Losses:
    """Two questions, answered apart.

    Attributes:
        folding: the folded network against the one that was trained, on the test images; None where none was folded.
        rounding: int8 against the network that it was made of. That takes no test images: where these are few, the
            training images are among its images.
        test_images: how many there are.
        max_drop: percentage points of accuracy that both together may lose.
    """

    folding: Comparison | None
    rounding: Comparison
    test_images: int
    max_drop: float

    @property
    def acceptable(self) -> bool:
        """Whether the loss seen is at most ``max_drop``, or where test images are few, one image of each question."""
        return round(self._points - self.max_drop, 9) <= 0 or (
            self._few and all(_lost(drop) <= 1 for drop in self._drops)
        )

    def refusal(self) -> str:
        """Why int8 is not recommended, and what would help."""
        told = [f"rounding {_told(self.rounding.drop)} of {self._rounded_images}"]
        helps = "`export --quantize --debug` names the layers that lose most"
        if self.folding is not None:
            told.insert(0, f"folding {_told(self.folding.drop)} of {self.test_images:,} test images")
            if self.folding.drop.value >= self.rounding.drop.value:
                helps = "`cifar-edge fold` with more --epochs, or more training images, may help"
        return f"{', '.join(told)}: {self._points:.2f} percentage points, where {self.max_drop:g} may be lost; {helps}"

    def limits(self) -> list[str]:
        """What the images show, and what they cannot; nothing where test images are many."""
        if not self._few:
            return []
        rounding = (
            f"rounding {_told(self.rounding.drop)} of {self._rounded_images}, and {self.rounding.changed:,} change "
            f"class: {self._shown(self.rounding.drop)}"
        )
        if self.folding is None:
            return [rounding]
        folding = f"folding {_told(self.folding.drop)} of {self.test_images:,} test images: "
        return [folding + self._shown(self.folding.drop), rounding]

    @property
    def _few(self) -> bool:
        return self.test_images < CONCLUSIVE_IMAGES

    @property
    def _drops(self) -> list[Estimate]:
        return [self.rounding.drop] if self.folding is None else [self.folding.drop, self.rounding.drop]

    @property
    def _points(self) -> float:
        return 100 * sum(drop.value for drop in self._drops)

    @property
    def _rounded_images(self) -> str:
        images = self.rounding.drop.images
        return f"{images:,} test images" if images == self.test_images else f"{images:,} images, training ones included"

    def _shown(self, drop: Estimate) -> str:
        if 100 * drop.high <= self.max_drop:
            return f"of others like them it loses at most {self.max_drop:g} percentage points, as these images show"
        return (
            f"of others like them it may lose up to {100 * drop.high:.2f} percentage points; to tell "
            f"{self.max_drop:g} takes about {CONCLUSIVE_IMAGES:,} images"
        )


def _lost(drop: Estimate) -> int:
    """Images; below 0 where more are right than before."""
    return round(drop.value * drop.images)


def _told(drop: Estimate) -> str:
    lost = _lost(drop)
    return f"gains {-lost:,}" if lost < 0 else f"loses {lost:,}"
