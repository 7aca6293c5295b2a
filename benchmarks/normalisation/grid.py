"""The study's grid: what is trained, in which order, and which learning rate is taken."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Self

from benchmarks.normalisation.results import Row, Training
from cifar_edge.errors import RecipeError

TUNING_SEED = 100
"""No final training has it: a rate that was lucky once gains nothing."""
_FACTOR = 2.0
_MOST_EXTENSIONS = 4
"""Rates tried beyond an edge of the grid, in all."""


@dataclass(frozen=True, slots=True)
class Grid:
    """What the study trains.

    Attributes:
        norms: see `benchmarks.normalisation.results.Training`.
        seeds: of the final trainings.
        train_images: images of an epoch.
        held_out_images: training images by which learning rates are chosen.
        epochs: of a final training.
        tuning_epochs: of a training that tries a learning rate.
        learning_rates: tried first, rising, by batch size.
    """

    norms: tuple[str, ...]
    seeds: tuple[int, ...]
    train_images: int
    held_out_images: int
    epochs: int
    tuning_epochs: int
    learning_rates: dict[int, tuple[float, ...]]

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a grid as grid.toml writes it.

        Raises:
            RecipeError: no such file, not TOML, or its keys are not those of a grid.
        """
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
            settings |= {name: tuple(settings[name]) for name in ("norms", "seeds")}
            rates = settings.pop("learning_rates")
            settings["learning_rates"] = {int(size): tuple(map(float, values)) for size, values in rates.items()}
            return cls(**settings)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RecipeError(f"{path} holds no grid of the study: {error}") from error

    def cells(self) -> list[tuple[str, int]]:
        """Every norm and batch size, small batches first: their trainings take longest."""
        return [(norm, batch_size) for batch_size, norm in product(sorted(self.learning_rates), self.norms)]

    def wanted(self, rows: Sequence[Row]) -> list[Training]:
        """What is still to be trained and can be told already: tries of learning rates, then seed after seed."""
        done = {Training.of(row) for row in rows}
        cells = self.cells()
        tries = [self._try(*cell, rate) for cell in cells for rate in self._untried(*cell, rows)]
        rates = [(cell, self.best_rate(*cell, rows)) for cell in cells]
        finals = [
            self.final(norm, batch_size, rate, seed)
            for seed in self.seeds
            for (norm, batch_size), rate in rates
            if rate is not None
        ]
        return [*tries, *(training for training in finals if training not in done)]

    def tries(self, norm: str, batch_size: int, rows: Sequence[Row]) -> list[Row]:
        """The trainings that tried learning rates for a norm and batch size, by rising rate."""
        found = [row for row in rows if Training.of(row) == self._try(norm, batch_size, row.learning_rate)]
        return sorted(found, key=lambda row: row.learning_rate)

    def best_rate(self, norm: str, batch_size: int, rows: Sequence[Row]) -> float | None:
        """The learning rate that held-out images chose; None while rates are still to be tried."""
        return None if self._untried(norm, batch_size, rows) else _best(self.tries(norm, batch_size, rows))

    def final(self, norm: str, batch_size: int, learning_rate: float, seed: int) -> Training:
        """The training whose accuracy is reported."""
        return self._training(norm, batch_size, learning_rate, self.epochs, seed)

    def _try(self, norm: str, batch_size: int, learning_rate: float) -> Training:
        return self._training(norm, batch_size, learning_rate, self.tuning_epochs, TUNING_SEED)

    def _training(self, norm: str, batch_size: int, learning_rate: float, epochs: int, seed: int) -> Training:
        return Training(
            norm=norm,
            batch_size=batch_size,
            learning_rate=learning_rate,
            train_images=self.train_images,
            epochs=epochs,
            seed=seed,
        )

    def _untried(self, norm: str, batch_size: int, rows: Sequence[Row]) -> list[float]:
        tries = self.tries(norm, batch_size, rows)
        tried = [row.learning_rate for row in tries]
        first = self.learning_rates[batch_size]
        missing = [rate for rate in first if rate not in tried]
        if missing or len(tried) >= len(first) + _MOST_EXTENSIONS:
            return missing
        best = _best(tries)
        if best == tried[-1]:
            return [best * _FACTOR]
        return [best / _FACTOR] if best == tried[0] else []


def _best(tries: Sequence[Row]) -> float:
    """The rate of the highest accuracy on held-out images, of equals the lowest; a diverged training has none."""
    return max(tries, key=lambda row: (row.held_out_accuracy or 0.0, -row.learning_rate)).learning_rate
