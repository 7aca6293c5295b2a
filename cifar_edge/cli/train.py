"""`cifar-edge train`: train a network in a new run, or resume one."""

import json
import os
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cifar_edge.cli.completion import complete_init, complete_network, complete_own_run
from cifar_edge.cli.dependencies import needs
from cifar_edge.cli.loading import image_folder_options, load, load_again
from cifar_edge.cli.png_option import checked_png
from cifar_edge.cli.recipe_option import set_option
from cifar_edge.cli.report import write_own_report
from cifar_edge.cli.size_option import size_option
from cifar_edge.cli.train_run import begin, check_resumable, cross_validated, go_on, write_preview
from cifar_edge.cli.train_summary import summary_json, summary_text
from cifar_edge.cli.value_types import File, Folder, WholeNumber
from cifar_edge.cli.verbosity import note, say

if TYPE_CHECKING:
    from cifar_edge.data import Dataset
    from cifar_edge.runs.dataset import DatasetReference
    from cifar_edge.runs.recipe import Recipe


@click.command("train")
@click.option("--model", metavar="NAME", shell_complete=complete_network, help="Network to train.  [default: gn-cnn]")
@click.option(
    "--epochs", metavar="N", type=WholeNumber(min=1), help="Passes over the training images, before any folding."
)
@click.option(
    "--fold-epochs",
    metavar="N",
    type=WholeNumber(min=0),
    help="Epochs of fine-tuning with the norms folded away; 0 for none.",
)
@click.option(
    "--seed",
    metavar="N",
    type=WholeNumber(min=0),
    help="Seed of the initial weights, the order of images, and augmentation.",
)
@size_option("32; 64 for photographs")
@click.option("--recipe", "file", type=click.Path(path_type=Path), metavar="FILE", help="A recipe.toml to train by.")
@click.option(
    "--init",
    metavar="RUN",
    shell_complete=complete_init,
    help="Begin with the folded network of this run, with the 'released' one, or with 'none'.  [default: released on "
    "an image folder, else none]",
)
@click.option(
    "--teacher",
    metavar="MODEL",
    help="Learn from this run or released model too, or from efficientnet-lite0, which has ImageNet weights and suits "
    "photographs.",
)
@click.option(
    "--unlabelled",
    metavar="DIR",
    type=Folder(exists=True),
    help="Learn from further images too, of which the teacher says what they are.",
)
@set_option("Change one key of the recipe, such as fold.epochs=5")
@click.option("--name", metavar="NAME", help="Write to runs/NAME.  [default: the time and the network]")
@click.option(
    "--resume",
    metavar="RUN",
    shell_complete=complete_own_run,
    help="Go on with an unfinished run, a folder or a name under runs.",
)
@click.option(
    "--cross-validate",
    "folds",
    type=WholeNumber(min=2),
    metavar="K",
    help="First measure the accuracy on the training images: train K times, each time without one K-th of them.",
)
@click.option(
    "--preview",
    type=File(),
    metavar="FILE.png",
    callback=checked_png,
    help="Only write a PNG of 24 training images, as the network sees them and augmented.",
)
@click.option("--tensorboard", is_flag=True, help="Write a log for TensorBoard too; --resume goes on with it.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to train."
)
@image_folder_options
@click.option("--json", "as_json", is_flag=True, help="Print the summary, or what --preview wrote, as JSON.")
def command(
    model: str | None,
    epochs: int | None,
    fold_epochs: int | None,
    seed: int | None,
    size: int | None,
    file: Path | None,
    init: str | None,
    teacher: str | None,
    unlabelled: Path | None,
    settings: tuple[str, ...],
    name: str | None,
    resume: str | None,
    folds: int | None,
    preview: Path | None,
    tensorboard: bool,
    device: str,
    data: str | None,
    holdout: float | None,
    strict: bool,
    offline: bool,
    as_json: bool,
) -> None:
    """Train a network on CIFAR-10, or on photographs of your own.

    Without options: gn-cnn for 20 epochs, of which the last five fine-tune it with its norms folded away; some minutes
    on two cores. The run, runs/TIME-NETWORK, holds recipe, weights, metrics, a summary and plots.

    On an image folder it begins with the released network, whose norms are folded already; how long it trains, and at
    which size, depends on the images. --init none, or --fold-epochs, trains as on CIFAR-10.

    Ctrl-C, or SIGTERM, finishes the step, saves and exits with 130 (143). --resume goes on, on a CPU to the same
    weights, bit for bit; after anything else that ended a training it goes on from the last whole epoch.

    Example: cifar-edge train --data pets --holdout 0.2 --set flip=false
    """
    if resume is not None:
        others: dict[str, object] = {"--model": model, "--epochs": epochs, "--fold-epochs": fold_epochs, "--seed": seed}
        others |= {
            "--size": size,
            "--recipe": file,
            "--init": init,
            "--teacher": teacher,
            "--unlabelled": unlabelled,
            "--cross-validate": folds,
            "--preview": preview,
            "--set": settings or None,
            "--name": name,
            "--tensorboard": tensorboard or None,
        }
        if given := ", ".join(option for option, value in others.items() if value is not None):
            raise click.UsageError(f"--resume takes the run's own recipe; leave out {given}.")
    if preview is not None and folds is not None:
        raise click.UsageError("--preview trains nothing: leave out --cross-validate.")
    if any(setting.partition("=")[0].strip() == "model" for setting in settings):
        raise click.UsageError("--set changes the recipe of one network; give another with --model.")
    if name is not None and (Path(name).name != name or name in {"", ".", ".."}):
        raise click.BadParameter(f"{name!r} is not a folder's name.", param_hint="--name")
    from cifar_edge.data.folder.other import content_of
    from cifar_edge.data.load import DATA_VARIABLE, check_location
    from cifar_edge.runs.resolve import find_run
    from cifar_edge.runs.run import Run

    # What can be refused without torch is refused first, since its import takes seconds; of the processes that torchrun
    # starts the first one does so, since the others print nothing.
    if os.environ.get("RANK", "0") == "0":
        if resume is not None:
            check_resumable(find_run(resume), data, holdout)
        else:
            if name is not None:
                Run(Path("runs", name)).check_new()
            check_location(data)
    with needs("train"):
        from cifar_edge.cli.train_recipe import Options, advice, init_setting, recipe_of, with_budget
        from cifar_edge.training.distributed import joined
        from cifar_edge.training.machine import choose_device, limit_threads
        from cifar_edge.training.phases import teacher_folders
    if tensorboard:
        with needs("tensorboard"):
            import_module("cifar_edge.training.tensorboard")
    limit_threads()
    choose_device(device)  # an error before the data is loaded
    with joined(device) as folder_to_write:
        if resume is not None:

            def load_its_data(reference: "DatasetReference", recipe: "Recipe") -> "Dataset":
                return load_again(reference, data, offline, holdout, strict, recipe.size, recipe.source_size)

            folder, summary, report = go_on(resume, device, load_its_data, folder_to_write)
        else:
            changes = {
                "model": model,
                "epochs": epochs,
                "fold.epochs": fold_epochs,
                "seed": seed,
                "size": size,
                "teacher": teacher,
                "unlabelled": None if unlabelled is None else str(unlabelled),
            }
            asked = {key: value for key, value in changes.items() if value is not None}
            init, settings = init_setting(init, settings)
            options = Options(model, file, init, settings, asked, data)
            recipe = recipe_of(options)
            teacher_folders(recipe)  # as with the device
            if recipe.unlabelled:
                content_of(Path(recipe.unlabelled))
            folder = Path("runs", name or f"{datetime.now():%Y%m%d-%H%M%S}-{recipe.model}")
            Run(folder).check_new()
            if data is None and not os.environ.get(DATA_VARIABLE):
                note("training on CIFAR-10; for images of your own, a folder a class, give --data DIR")
            dataset = load(data, offline, holdout, strict, recipe.size, recipe.source_size)
            recipe = with_budget(recipe, options, len(dataset.train_labels) - recipe.holdout)
            if dataset.folder is not None:
                for line in advice(recipe, options, len(dataset.labels)):
                    note(line)
            if preview is not None:
                write_preview(recipe, dataset, preview)
                if as_json:
                    say(json.dumps({"preview": str(preview), "size": recipe.size}, indent=2))
                return
            judged = [] if folds is None else cross_validated(recipe, dataset, folds, device)
            summary = begin(recipe, dataset, folder, device, tensorboard, folder_to_write, judged)
            report = write_own_report(folder, dataset)
        say(summary_json(summary, folder, report) if as_json else summary_text(summary, folder, report))
