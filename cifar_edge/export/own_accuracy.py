"""The accuracy of a network of the user's own as it was given, and what to look at where that is near chance."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from cifar_edge.export.parity import Logits
from cifar_edge.measure.metrics import Estimate, accuracy, confusion_matrix

FINETUNE = "fine-tuning (--finetune EPOCHS, in Python edge.finetune)"
"""What may recover accuracy that folding or rounding lost."""


@dataclass(frozen=True, slots=True)
class Given:
    """A network of the user's own, as it was given.

    Attributes:
        mean: what its input subtracts, in units of 0 to 255: one number, or one a channel.
        std: what it divides by, in the same units.
        accuracy: on the test images, with its 95 % interval.
        warning: what may be wrong with what was given; None where nothing looks so.
    """

    mean: str
    std: str
    accuracy: Estimate
    warning: str | None

    @classmethod
    def of(cls, logits: Logits, labels: npt.NDArray[np.integer], mean: str, std: str) -> Self:
        """The network that answers the test images with ``logits``; ``labels`` are their true classes."""
        confusion = confusion_matrix(labels, logits.argmax(axis=1), logits.shape[1])
        found = accuracy(int(np.trace(confusion)), len(labels))
        warning = None
        if found.value < _low(logits.shape[1]):
            causes = f"mean and std ({mean} and {std}), that trained weights were loaded, and the order of the classes"
            warning = (
                f"{found.value:.2%} is low for {logits.shape[1]} classes, where chance has {1 / logits.shape[1]:.2%}: "
                f"the network may be untrained, or get other input than in its training; check {causes}"
            )
            renamed = float(confusion.max(axis=0).sum()) / len(labels)
            if renamed > 2 * found.value and renamed >= _low(logits.shape[1]):
                warning += f"; it looks like the order: with another name for each class, {renamed:.2%} would be right"
        return cls(mean, std, found, warning)

    def sentence(self) -> str:
        """The accuracy, for the report."""
        return (
            f"the network as given: {self.accuracy.value:.2%} right ({self.accuracy.low:.2%} to "
            f"{self.accuracy.high:.2%}), with mean {self.mean} and std {self.std}"
        )


def _low(classes: int) -> float:
    """An accuracy that few who bring a network would be content with: a sixth of the way from chance to 1, or less.

    Of many classes, three times chance is enough.
    """
    chance = 1 / classes
    return min(3 * chance, chance + (1 - chance) / 6)
