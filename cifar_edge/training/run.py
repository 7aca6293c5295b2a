"""Training a run, resuming it, and folding it: `train`, `resume`, `fold_run`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from cifar_edge.data.dataset import Dataset
from cifar_edge.data.folder.trained_on import write_trained_on
from cifar_edge.data.reference import change, check_split_rule, reference_to
from cifar_edge.errors import CifarEdgeError, Interrupted, RecipeError, TrainingError
from cifar_edge.files import write_text
from cifar_edge.folding.fold import can_fold
from cifar_edge.messages import display_name, shell_word
from cifar_edge.models import build
from cifar_edge.models.summary import summarize
from cifar_edge.runs.epochs import EpochRecord
from cifar_edge.runs.lock import held
from cifar_edge.runs.out_of_fold import OutOfFold
from cifar_edge.runs.progress import CrossValidated
from cifar_edge.runs.recipe import KEYS, Recipe
from cifar_edge.runs.run import FAILURE, FOLD_METRICS, RECIPE, STATE, Run
from cifar_edge.runs.summary import RunSummary
from cifar_edge.training import plots
from cifar_edge.training.callbacks import Callbacks
from cifar_edge.training.checkpoint import load_network
from cifar_edge.training.distributed import batch_worker, this_worker
from cifar_edge.training.initial import folded_beginning
from cifar_edge.training.loop import UnfitState, logits_of
from cifar_edge.training.machine import choose_device, memory_for, resolve_precision
from cifar_edge.training.origins import origins, warnings_of_test_images
from cifar_edge.training.phases import Phases, accuracy_of, check_classes, check_size, teacher_folders, training_images
from cifar_edge.training.state import (
    RunState,
    changed_recipe,
    differences,
    environment,
    load_state,
    save_state,
)
from cifar_edge.training.time_left import correcting, duration

__all__ = ["EpochRecord", "Callbacks", "fold_run", "resume", "train", "training_images"]

_FOLDING_LOSS = 1.0
"""Percentage points of accuracy that folding may cost without a warning."""


def train(
    recipe: Recipe,
    dataset: Dataset,
    folder: Path,
    *,
    device: str = "auto",
    callbacks: Callbacks | None = None,
    out_of_fold: Sequence[OutOfFold] = (),
) -> RunSummary:
    """Train by ``recipe`` and write the run into ``folder``; returns its summary.

    Test accuracy is measured at the end, and after each epoch if there are no validation images; it decides nothing. On
    a CPU, the same seed, number of threads and kind of machine give the same weights, bit for bit, even if the training
    was interrupted and resumed.

    Args:
        recipe: its precision may be ``auto``; the saved one is resolved.
        dataset: uint8 images of the recipe's size and their labels.
        folder: holds no run yet; it is made if it is missing.
        device: one of `cifar_edge.training.machine.DEVICES`.
        callbacks: called with progress.
        out_of_fold: what a cross-validation before it said of each training image, to be written into the run.

    Raises:
        TrainingError: ``folder`` already holds a run, no training images are left besides the validation images, the
            loss is not finite, the memory is too small, or the processes that train together cannot share a batch.
        ModelError: there is no such network, or the recipe's teacher is not a trained network.
        RecipeError: the recipe has folding epochs, but the network's norms cannot be folded.
        Interrupted: ``callbacks.stop`` was true; `resume` goes on.
        CifarEdgeError: a file cannot be written.
    """
    run = Run(folder)
    run.check_new()
    where = choose_device(device)
    recipe = resolve_precision(recipe, where)
    state = RunState(
        phase="train",
        snapshot=None,
        records=[],
        recipe=recipe,
        data=reference_to(dataset),
        environment=_environment(recipe, where),
        created=_now(),
        seconds=0.0,
        cross_validated=CrossValidated.of(out_of_fold),
    )
    with memory_for(recipe):
        phases = Phases(recipe, dataset, folder, where, callbacks or Callbacks(), state)
        _check_can_train(phases)
    with held(folder):
        run.check_new()  # another process may have trained here since the first check
        with _resumable_failures(folder, recipe):
            # The state first, so that every folder that holds a recipe can be resumed.
            save_state(folder, state)
            run.write_recipe(recipe)
            if out_of_fold:
                run.write_out_of_fold(out_of_fold)
            for line in warnings_of_test_images(recipe, dataset):
                phases.callbacks.note(f"warning: {line}")
            _announce(phases)
            return _finish(phases, state)


def resume(folder: Path, dataset: Dataset, *, device: str = "auto", callbacks: Callbacks | None = None) -> RunSummary:
    """Go on with the unfinished run in ``folder`` from its last saved state, by its recipe.toml.

    If anything has changed that the weights depend on bit for bit, ``callbacks.note`` is called.

    Args:
        folder: of the run.
        dataset: the one it began with.
        device: one of `cifar_edge.training.machine.DEVICES`.
        callbacks: called with progress.

    Returns:
        The summary; that of a finished run is the existing one.

    Raises:
        ModelError: the folder holds no state, or not the weights that belong to it, or a damaged ``summary.json``.
        RecipeError: the run's recipe is damaged.
        TrainingError: another process trains the run, dataset or recipe do not fit its state, or as for `train`.
        Interrupted: as for `train`.
        CifarEdgeError: a file cannot be written.
    """
    run, callbacks = Run(folder), callbacks or Callbacks()
    with held(folder):
        if run.is_finished:
            (folder / STATE).unlink(missing_ok=True)
            callbacks.note(f"{display_name(folder)} is finished: there is nothing to go on with")
            return run.whole_summary()
        state = load_state(folder)
        check_split_rule(state.data)
        if changed := change(state.data, dataset):
            raise TrainingError(f"{display_name(folder)} cannot go on: {changed}; give that with --data")
        if not (folder / RECIPE).exists():
            run.write_recipe(state.recipe)
        where = choose_device(device)
        recipe = resolve_precision(run.recipe, where)
        now = _environment(recipe, where)
        for what in (changed_recipe(state, folder, recipe), differences(state.environment, now)):
            if what:
                callbacks.note(f"changed since {display_name(folder)} began, so its weights will be others: {what}")
        state = replace(state, recipe=recipe, environment=now, data=reference_to(dataset))
        (folder / FAILURE).unlink(missing_ok=True)
        with _resumable_failures(folder, recipe):
            return _finish(Phases(recipe, dataset, folder, where, callbacks, state), state)


def fold_run(
    folder: Path,
    dataset: Dataset,
    *,
    epochs: int,
    settings: Sequence[str] = (),
    continued: bool = False,
    device: str = "auto",
    callbacks: Callbacks | None = None,
) -> RunSummary:
    """Fold the norms of a finished run, fine-tune, and write ``deploy.safetensors`` into the run.

    This is the last phase of `train`, for a run that was trained without it, or again with other settings. The run does
    not change until all is done, so an interrupted folding starts again.

    Args:
        folder: of the run.
        dataset: the one it was trained on.
        epochs: of fine-tuning.
        settings: other changes of the run's recipe, as ``fold.key=value``.
        continued: fine-tune on from the run's folded network, rather than from its newly folded norms.
        device: one of `cifar_edge.training.machine.DEVICES`.
        callbacks: called with progress.

    Returns:
        The new summary.

    Raises:
        ModelError: the folder holds no finished run.
        RecipeError: the run's recipe is damaged, or ``settings`` are wrong.
        TrainingError: the network's norms cannot be folded, there is no folded network to go on from, ``dataset`` is
            another one, the loss is not finite, the memory is too small, or another process holds the run.
        Interrupted: ``callbacks.stop`` was true.
    """
    trained = load_network(folder)
    Run(folder).check_foldable(continued=continued)
    if not can_fold(trained.network):
        raise TrainingError(_cannot_fold(trained.name))
    check_split_rule(trained.data)
    if changed := change(trained.data, dataset):
        raise TrainingError(f"{changed}; give that with --data")
    check_classes(trained.labels, dataset)
    check_size(trained.size, dataset)
    where = choose_device(device)
    run = Run(folder)
    recipe = resolve_precision(_recipe_to_fold(run.recipe, settings, epochs), where)
    summary = run.whole_summary()
    if summary.temperature is not None:  # the int8 temperature was fitted to the previous folded weights
        kept = {precision: value for precision, value in summary.temperature.items() if precision != "int8"}
        summary = replace(summary, temperature=kept)
    before = origins(recipe)
    with held(folder), memory_for(recipe):
        phases = Phases(recipe, dataset, folder, where, callbacks or Callbacks())
        summary, logits = phases.fold(trained.network.to(where), summary, trained.folded if continued else None)
        _warn_about_folding_loss(summary, phases.callbacks)
        plots.draw_predictions(
            folder, dataset, logits.cpu().numpy(), _deployed_name(recipe.model, summary), phases.folded
        )
        run.write_metrics(_counted_on(run.fold_metrics() if continued else [], phases.records), FOLD_METRICS)
        write_trained_on(folder, dataset, before)  # runs of early versions do not have it
        run.write_summary(summary)
        run.write_recipe(recipe)
    return summary


def _counted_on(earlier: list[EpochRecord], later: list[EpochRecord]) -> list[EpochRecord]:
    """The epochs of a folding and of what continued it, with epochs and seconds counted on."""
    if not earlier:
        return later
    epochs, seconds = earlier[-1].epoch, earlier[-1].seconds
    return [*earlier, *(replace(each, epoch=epochs + each.epoch, seconds=seconds + each.seconds) for each in later)]


def _recipe_to_fold(before: Recipe, settings: Sequence[str], epochs: int) -> Recipe:
    """A run's recipe with ``settings`` and ``epochs`` in its ``[fold]`` table.

    Raises:
        RecipeError: a setting is not in that table, or is the number of epochs.
    """
    after = before.updated(settings)
    if after.with_values(fold=before.fold) != before or after.fold.epochs != before.fold.epochs:
        keys = ", ".join(key for key in KEYS if key.startswith("fold.") and key != "fold.epochs")
        raise RecipeError(f"{', '.join(settings)}: folding takes {keys}; give epochs with --epochs")
    return after.changed({"fold.epochs": epochs})


def _check_can_train(phases: Phases) -> None:
    """Find errors that a change of recipe.toml could not mend later, before anything is written."""
    recipe = phases.recipe
    network = build(recipe.model, len(phases.dataset.labels), recipe.size)
    if recipe.init:
        folded_beginning(recipe.init, recipe.model)
    elif recipe.fold.epochs and not can_fold(network):
        raise RecipeError(f"fold.epochs = {recipe.fold.epochs}, but {_cannot_fold(recipe.model)}")
    batch_worker(network).share(0, min(recipe.batch_size, len(phases.images)))


def _announce(phases: Phases) -> None:
    """Say how classes are balanced, and how long the training will take, now and whenever that was wrong.

    What teachers take for augmented copies is not known, since their answers may be kept from another run; then no time
    is said.
    """
    recipe, sizes = phases.recipe, torch.bincount(phases.labels, minlength=len(phases.dataset.labels))
    if recipe.balance and sizes.min() != sizes.max():
        phases.callbacks.note(
            f"classes of {sizes.min():,} to {sizes.max():,} images: each class counts the same in the training"
        )
    if recipe.teachers and recipe.augmented_copies:
        return
    seconds = phases.seconds_to_train()
    if recipe.steps_per_epoch:
        steps = recipe.epochs * recipe.steps_per_epoch
        line = f"{steps:,} steps of {recipe.batch_size} images, about {duration(seconds)} on this machine"
    else:
        line = f"{_epochs(recipe.epochs)}, about {duration(seconds)} on this machine"
    if recipe.fold.epochs:
        line += f", and then {_epochs(recipe.fold.epochs)} of fine-tuning with the norms folded"
    phases.callbacks.note(line)
    phases.callbacks = correcting(phases.callbacks, seconds)


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count:,} epochs"


def _cannot_fold(name: str) -> str:
    return f"the norms of {name} follow ReLU and cannot be folded; gn-cnn's can"


def _finish(phases: Phases, state: RunState) -> RunSummary:
    """Do all remaining phases, measure, draw the plots, and write the summary, which ends the run."""
    recipe, dataset, folder = phases.recipe, phases.dataset, phases.folder
    before = origins(recipe)  # now, since a teacher may be moved while this trains
    network = phases.train()
    logits = logits_of(network, phases.test[0])
    validation = phases.validation
    costs = summarize(network, recipe.size)
    summary = RunSummary(
        model=recipe.model,
        labels=dataset.labels,
        created=state.created,
        epochs=sum(record.phase == "train" for record in phases.records),
        seed=recipe.seed,
        parameters=costs.parameters,
        macs=costs.macs,
        train_accuracy=accuracy_of(logits_of(network, phases.images), phases.labels),
        train_images=len(phases.labels),
        holdout_accuracy=accuracy_of(logits_of(network, validation[0]), validation[1]) if validation else None,
        holdout_images=len(validation[1]) if validation else None,
        test_accuracy=accuracy_of(logits, phases.test[1]),
        test_images=len(phases.test[1]),
        device=torch.cuda.get_device_name() if phases.device.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        cross_validated_accuracy=state.cross_validated and state.cross_validated.accuracy,
        cross_validated_images=state.cross_validated and state.cross_validated.images,
        data=reference_to(dataset),
        versions={name: version(name) for name in ("torch", "numpy", "safetensors")},
    )
    if recipe.fold.epochs and can_fold(network):
        summary, logits = phases.fold(network, summary)
        _warn_about_folding_loss(summary, phases.callbacks)
    accuracy_name = "test images" if validation is None else "validation images"
    plots.draw_curves(folder / plots.CURVES, phases.records, accuracy_name)
    plots.draw_predictions(
        folder, dataset, logits.cpu().numpy(), _deployed_name(recipe.model, summary), phases.folded or network
    )
    summary = replace(summary, finished=_now(), seconds=phases.seconds())
    phases.run.write_metrics(phases.records)
    write_trained_on(folder, dataset, before)
    phases.run.write_summary(summary)
    (folder / STATE).unlink(missing_ok=True)
    return summary


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@contextmanager
def _resumable_failures(folder: Path, recipe: Recipe) -> Iterator[None]:
    """Write a failure into the run, and add to its message how to resume, if there is a state to resume from."""
    try:
        with memory_for(recipe):
            yield
    except (Interrupted, UnfitState):  # an unfit state cannot be resumed
        raise
    except CifarEdgeError as error:
        if not (folder / STATE).exists() or this_worker().rank > 0:
            raise
        with suppress(CifarEdgeError):  # the disk may be full
            write_text(folder / FAILURE, f"{error}\n")
        raise TrainingError(f"{error}; then go on: cifar-edge train --resume {shell_word(str(folder))}") from error


def _environment(recipe: Recipe, device: torch.device) -> dict[str, Any]:
    teachers = [Run(folder).weights() for folder in teacher_folders(recipe)]
    return environment(device, teachers, recipe.unlabelled)


def _deployed_name(model: str, summary: RunSummary) -> str:
    """The name of the network to deploy, in titles of plots."""
    return f"{model} as trained" if summary.folded_test_accuracy is None else f"{model}, its norms folded"


def _warn_about_folding_loss(summary: RunSummary, callbacks: Callbacks) -> None:
    """Warn if the folded network, which is to be deployed, is far worse than the one that was trained."""
    before, after, images = summary.test_accuracy, summary.folded_test_accuracy, summary.test_images
    if before is None or after is None or images is None:
        return  # a summary of an early version
    loss = before - after
    if round(100 * loss - _FOLDING_LOSS, 9) > 0:
        callbacks.note(
            f"warning: folding lost {round(loss * images):,} of {images:,} test images, {100 * loss:.2f} percentage "
            "points, and int8 is made of the folded network; more fine-tuning may help (fold.epochs, or cifar-edge "
            "fold), and so may more training images; cifar-edge export says which file to deploy"
        )
