"""`cifar-edge predict`: classify images."""

import copy
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cifar_edge.cli.completion import complete_model
from cifar_edge.cli.inputs import STDIN, Inputs
from cifar_edge.cli.prediction_records import Csv, JsonArray, JsonLines, Writer, columns, record
from cifar_edge.cli.prediction_text import lines
from cifar_edge.cli.progress import Progress, alone_on_terminal
from cifar_edge.cli.value_types import File, Folder, WholeNumber
from cifar_edge.cli.verbosity import error_text, note, quiet, writing_stdout
from cifar_edge.errors import ImageError
from cifar_edge.messages import display_name
from cifar_edge.runtime.inputs import Input
from cifar_edge.spec import MAX_CLASSES

if TYPE_CHECKING:
    from cifar_edge.cli.resume import Done


def _threshold(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """A score; 0 for "none", and None, the model's own threshold, if the option was not given."""
    if value is None:
        return None
    try:
        score = 0.0 if value == "none" else float(value)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:  # nan too
        raise click.BadParameter(f"{value!r} is neither a score from 0 to 1 nor 'none'.")
    return score


@click.command("predict")
@click.argument("arguments", metavar="[INPUT]...", nargs=-1, type=click.Path())
@click.option("--recursive", "-r", is_flag=True, help="Read folders, with all folders below them.")
@click.option(
    "--from-file",
    "listed",
    metavar="LIST",
    type=File(exists=True),
    help="Read names from LIST too, one a line; - is stdin.",
)
@click.option("--null", "-0", is_flag=True, help="Names in LIST end with a null byte (find -print0).")
@click.option(
    "--top",
    default=1,
    show_default=True,
    metavar="K",
    type=WholeNumber(1, MAX_CLASSES),
    help="Show the K best classes, or all if the model has fewer.",
)
@click.option(
    "--threshold",
    metavar="P|none",
    callback=_threshold,
    help="Answer 'unknown' if the score is below P; with none, never.  [default: the model's own threshold]",
)
@click.option(
    "--model",
    metavar="MODEL",
    shell_complete=complete_model,
    help="A released name, a run, a folder or an .onnx or .tflite file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an array with one record an input.")
@click.option("--jsonl", "as_jsonl", is_flag=True, help="Print JSON Lines: one record a line, as they come.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, as it comes.")
@click.option(
    "--resume",
    "out",
    metavar="OUT",
    type=File(),
    help="Append to OUT, as CSV if it is *.csv, else as JSON Lines; skip the inputs that it has.",
)
@click.option("--strict", is_flag=True, help="Stop at the first input that cannot be read.")
@click.option(
    "--workers", metavar="N", type=WholeNumber(min=1), help="Threads that read images, at most.  [default: cores]"
)
@click.option(
    "--engine",
    type=click.Choice(["onnxruntime", "c", "ray"]),
    default="onnxruntime",
    show_default=True,
    help="Run in onnxruntime; or as C, compiled on this machine (int8 alone); or in onnxruntime on many machines, with "
    "Ray (needs --parquet).",
)
@click.option(
    "--parquet",
    metavar="DIR",
    type=Folder(),
    help="With --engine ray: write Parquet files into the new folder DIR.",
)
@click.pass_context
def command(
    ctx: click.Context,
    arguments: tuple[str, ...],
    recursive: bool,
    listed: Path | None,
    null: bool,
    top: int,
    threshold: float | None,
    model: str | None,
    as_json: bool,
    as_jsonl: bool,
    as_csv: bool,
    out: Path | None,
    strict: bool,
    workers: int | None,
    engine: str,
    parquet: Path | None,
) -> None:
    """Classify images: any format, any size, any number.

    INPUT is a file, a folder (with --recursive), a pattern such as '**/*.jpg', or - for one image on stdin.

    Without --model it takes $CIFAR_EDGE_MODEL, else the newest export under ./runs, else the released gn-cnn, and says
    so on stderr. An input that cannot be read does not stop the others; the exit code is then 1.

    Example: cifar-edge predict cat.jpg dog.png --top 3

    Example: cifar-edge predict --recursive photos --resume answers.jsonl
    """
    if not arguments and listed is None:
        raise click.UsageError("Missing argument '[INPUT]...', or --from-file LIST.")
    if STDIN in arguments and str(listed) == STDIN:
        raise click.UsageError("stdin cannot be an image and a list of names at once.")
    if null and listed is None:
        raise click.UsageError("--null needs --from-file.")
    form = _form(json=as_json, jsonl=as_jsonl, csv=as_csv)
    if out is not None:
        form = form or ("csv" if out.suffix == ".csv" else "jsonl")
        if form == "json":
            raise click.UsageError("--resume writes JSON Lines or CSV, not --json.")
    if (engine == "ray") != (parquet is not None):
        raise click.UsageError("--engine ray and --parquet DIR go together.")
    inputs = Inputs(arguments, recursive, listed, null)
    if missing := inputs.missing_folders():
        raise click.BadParameter(f"there is no folder {display_name(missing[0])}.", param_hint="'[INPUT]...'")
    if parquet is not None:
        if form or strict or workers or STDIN in arguments:
            raise click.UsageError(
                "--engine ray takes image files, not stdin, and writes Parquet; it has neither --strict nor --workers."
            )
        ctx.exit(_on_ray(inputs, model, parquet, top, threshold))
    from cifar_edge.runtime.classifier import Classifier
    from cifar_edge.runtime.formats import CONVERT
    from cifar_edge.runtime.quiet import silence_litert, silence_pillow

    silence_pillow()
    silence_litert()
    classifier = Classifier(model, engine=engine)
    note(f"model: {classifier.source}")
    identity = classifier.metadata.identity
    progress = Progress(
        not quiet() and alone_on_terminal(out is not None), copy.copy(inputs) if inputs.repeatable else None
    )
    with (
        _writer(form, out, top) as (writer, done),
        progress,
        closing(classifier.answers(_left(inputs, done, progress), workers=workers)) as answers,
    ):
        for given, answer in answers:
            failed = isinstance(answer, ImageError)
            if isinstance(answer, ImageError):
                progress.line(error_text(answer))
            if writer is not None:
                writer.write(record(given.name, answer, identity, top, threshold))
            elif not isinstance(answer, ImageError):
                click.echo(lines(given.name, answer, top, threshold, sys.stdout.isatty()))
            progress.add(failed)
            if failed and strict:
                break
    if inputs.skipped:
        note(f"left out {_counted(inputs.skipped, 'file')} in folders: hidden, or without the suffix of an image file")
    if inputs.unread:
        those = _counted(inputs.unread, "photograph")
        note(f"{those} among these, of a format that is not read, such as HEIC: {CONVERT}")
    if out is not None and done is not None:
        note(f"{display_name(out)}: {_counted(progress.done, 'input')} added to {done.records:,} from before")
        if done.failed:
            note(f"{display_name(out)}: {done.failed:,} of these are errors; delete their lines to try them again")
        if others := sum(done.models.values()) - done.models[identity]:
            note(f"{display_name(out)}: {others:,} of these are from another model; see their field 'model'")
    if progress.failed or (done is not None and done.failed):
        ctx.exit(1)


def _form(**asked: bool) -> str | None:
    """The one form that is asked for; None for plain text.

    Raises:
        UsageError: several are.
    """
    forms = [form for form, is_asked in asked.items() if is_asked]
    if len(forms) > 1:
        raise click.UsageError(f"--{forms[0]} and --{forms[1]} are two forms of the answers: give one.")
    return forms[0] if forms else None


def _on_ray(inputs: Inputs, model: str | None, out: Path, top: int, threshold: float | None) -> int:
    """Run the command on Ray; returns the exit code."""
    from cifar_edge.cli.dependencies import needs

    with needs("ray"):
        from cifar_edge.cli import ray_engine
    from cifar_edge.runs.resolve import resolve_model
    from cifar_edge.runtime.model import load

    found = resolve_model(model)
    load(found.path, name=str(found))  # an error is one line here, but a hundred lines of Ray's
    note(f"model: {found}")
    count, failed = ray_engine.predict(inputs, found.path.read_bytes(), out, top, threshold)
    note(f"{display_name(out)}: {_counted(count, 'input')}, {failed:,} failed")
    return int(failed > 0)


@contextmanager
def _writer(form: str | None, out: Path | None, top: int) -> "Iterator[tuple[Writer | None, Done | None]]":
    """The writer of the records, None for plain text; and the inputs that ``out`` has already, None without it."""
    if out is not None:
        from cifar_edge.cli.resume import resumed

        with resumed(out, form == "csv", top) as both:
            yield both
        return
    with writing_stdout():
        if form is None:
            yield None, None
            return
        writer = _to_stdout(form, top)
        try:
            yield writer, None
        finally:
            writer.close()


def _to_stdout(form: str, top: int) -> Writer:
    if form == "csv":
        return Csv(sys.stdout.buffer, columns(top))
    return JsonArray(sys.stdout.buffer) if form == "json" else JsonLines(sys.stdout.buffer)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _left(inputs: Inputs, done: "Done | None", progress: Progress) -> Iterator[Input]:
    """The inputs that ``done`` does not have."""
    for given in inputs:
        if done is not None and done.take(given):
            progress.before += 1
        else:
            yield given
