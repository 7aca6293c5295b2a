"""The accuracy drop of int8, by folding and by rounding, and how much of it the images can show."""

from dataclasses import dataclass

from cifar_edge.export.own_accuracy import FINETUNE
from cifar_edge.export.parity import Comparison
from cifar_edge.measure.metrics import CONCLUSIVE_IMAGES, Estimate


@dataclass(frozen=True, slots=True)
class AccuracyDrop:
    """The two parts of the accuracy drop, measured separately.

    Attributes:
        folding: the folded network against the trained one, on the test images; None if nothing was folded.
        rounding: int8 against the network that it was made of. This needs no unseen images, so if test images are few,
            it is measured on training images too.
        test_images: number of test images.
        max_drop: percentage points of accuracy that both together may lose.
        own: whether the network is the user's own, not of this package.
    """

    folding: Comparison | None
    rounding: Comparison
    test_images: int
    max_drop: float
    own: bool = False

    @property
    def acceptable(self) -> bool:
        """Whether the drop is at most ``max_drop``, or, if test images are few, each part at most one image."""
        return round(self._points - self.max_drop, 9) <= 0 or (
            self._few and all(_lost_images(drop) <= 1 for drop in self._drops)
        )

    def refusal(self) -> str:
        """Why int8 is not recommended, and what may help."""
        parts = [f"rounding {_change(self.rounding.drop)} of {self._rounded_images}"]
        advice = f"`{'--debug' if self.own else 'export --quantize --debug'}` names the layers that lose most"
        if self.folding is not None:
            parts.insert(0, f"folding {_change(self.folding.drop)} of {self.test_images:,} test images")
            if self.folding.drop.value >= self.rounding.drop.value:
                longer = FINETUNE if self.own else "`cifar-edge fold` with more --epochs"
                advice = f"{longer}, or more training images, may help"
        return (
            f"{', '.join(parts)}: {self._points:.2f} percentage points, where {self.max_drop:g} may be lost; {advice}"
        )

    def limits(self) -> list[str]:
        """For each part, how much it may be on other images; nothing if there are many test images."""
        if not self._few:
            return []
        rounding = (
            f"rounding {_change(self.rounding.drop)} of {self._rounded_images}, and {self.rounding.changed:,} change "
            f"class; {self._on_other_images(self.rounding.drop)}"
        )
        if self.folding is None:
            return [rounding]
        folding = f"folding {_change(self.folding.drop)} of {self.test_images:,} test images; "
        return [folding + self._on_other_images(self.folding.drop), rounding]

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

    def _on_other_images(self, drop: Estimate) -> str:
        if 100 * drop.high <= self.max_drop:
            return f"on other images like these it loses at most {self.max_drop:g} percentage points"
        return (
            f"on other images like these it may lose up to {100 * drop.high:.2f} percentage points (to tell "
            f"{self.max_drop:g}, about {CONCLUSIVE_IMAGES:,} images are needed)"
        )


def _lost_images(drop: Estimate) -> int:
    """Number of images; negative if more are right than before."""
    return round(drop.value * drop.images)


def _change(drop: Estimate) -> str:
    lost = _lost_images(drop)
    return f"gains {-lost:,}" if lost < 0 else f"loses {lost:,}"
