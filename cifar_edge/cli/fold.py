"""`cifar-edge fold`: fold the norms of a finished run, so that its int8 export is fast."""

from pathlib import Path

import click

from cifar_edge.cli.completion import complete_own_run
from cifar_edge.cli.dependencies import needs
from cifar_edge.cli.interruption import interruptible
from cifar_edge.cli.loading import data_again, image_folder_options, load_again
from cifar_edge.cli.recipe_option import set_option
from cifar_edge.cli.report import write_own_report
from cifar_edge.cli.train_progress import reporting
from cifar_edge.cli.train_summary import summary_json, summary_text
from cifar_edge.cli.value_types import WholeNumber
from cifar_edge.cli.verbosity import say
from cifar_edge.errors import ModelError
from cifar_edge.files import is_released
from cifar_edge.messages import display_name


@click.command("fold")
@click.argument("run", type=click.Path(path_type=Path), shell_complete=complete_own_run)
@click.option(
    "--epochs",
    metavar="N",
    type=WholeNumber(min=1),
    default=5,
    show_default=True,
    help="Epochs of fine-tuning.",
)
@click.option("--continue", "continued", is_flag=True, help="Fine-tune on from the run's folded network.")
@set_option("Change one key of the fine-tuning, such as fold.contrast=0.5", only="fold.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to train."
)
@image_folder_options
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    run: Path,
    epochs: int,
    continued: bool,
    settings: tuple[str, ...],
    device: str,
    data: str | None,
    holdout: float | None,
    strict: bool,
    offline: bool,
    as_json: bool,
) -> None:
    """Fold the norms of a finished run.

    This is the last phase of train, for a RUN that was trained without it, or again with other settings. It writes the
    folded network, of which export --quantize makes int8, to the run's deploy.safetensors. With --continue the folded
    network that the run has is fine-tuned on.

    Example: cifar-edge fold runs/20261123-043639-gn-cnn --epochs 20 --set fold.contrast=0.5
    """
    from cifar_edge.data.reference import check_split_rule
    from cifar_edge.runs.lock import check_free
    from cifar_edge.runs.resolve import resolve_run
    from cifar_edge.runs.run import Run

    # What can be refused without torch is refused first, since its import takes seconds.
    folder = resolve_run(run).path
    if is_released(folder):
        raise ModelError(f"{display_name(run)} is a released model, which is never written to; give a run")
    check_free(folder)
    Run(folder).check_foldable(continued=continued)
    check_split_rule(Run(folder).data)
    if settings:
        Run(folder).recipe.updated(settings)
    data_again(Run(folder).data, data, holdout)
    with needs("train"):
        from cifar_edge.folding.fold import can_fold
        from cifar_edge.training.checkpoint import load_network
        from cifar_edge.training.machine import choose_device, limit_threads
        from cifar_edge.training.run import fold_run
    limit_threads()
    choose_device(device)  # an error before the data is loaded
    trained = load_network(folder)
    source_size = Run(folder).recipe.updated(settings).source_size if can_fold(trained.network) else None
    dataset = load_again(trained.data, data, offline, holdout, strict, trained.size, source_size)
    accuracy_name = "validation" if Run(folder).summary.holdout_images else "test"
    with (
        interruptible("the run has not changed; fold it again") as stop,
        reporting(accuracy_name, 0, epochs, stop) as callbacks,
    ):
        summary = fold_run(
            folder,
            dataset,
            epochs=epochs,
            settings=settings,
            continued=continued,
            device=device,
            callbacks=callbacks,
        )
    report = write_own_report(folder, dataset)
    say(summary_json(summary, folder, report) if as_json else summary_text(summary, folder, report))
