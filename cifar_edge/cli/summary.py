"""`cifar-edge summary`: print the layers of a network and their cost."""

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifar_edge.cli.completion import NETWORKS, complete_summary
from cifar_edge.cli.dependencies import needs
from cifar_edge.cli.narrow import text_columns
from cifar_edge.cli.size_option import size_option
from cifar_edge.cli.verbosity import note, say
from cifar_edge.columns import wrapped
from cifar_edge.messages import display_name

if TYPE_CHECKING:
    from cifar_edge.integer import IntegerNetwork
    from cifar_edge.models.summary import Summary
    from cifar_edge.runs.run import Run


@click.command("summary")
@click.argument("name", shell_complete=complete_summary)
@size_option()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the layers that the table leaves out.")
def command(name: str, size: int | None, as_json: bool) -> None:
    """Print a network's layers, shapes, parameters and MACs.

    NAME is a run, whose network is shown as trained, or a network such as gn-cnn or s8-layer, for ten classes.
    Layers that neither hold parameters nor shrink their input (ReLU, Dropout, Flatten) are numbered but not printed.
    MACs are the multiply-accumulates of convolutions and linear layers. Sizes are for one float32 image, in MB of
    2^20 bytes; forward/backward counts every layer's output and its gradient.

    NAME may also be an exported int8 file, or the folder of an export. Then the integer layers are shown, with the
    bytes of their weights, and of their activations if each layer keeps a ring of rows, and what the C of
    `export --target c` takes. For a run that was exported in int8, both are shown; without the extra train the
    integer layers alone, of a released model too.

    Example: cifar-edge summary gn-cnn --size 64
    """
    from cifar_edge.runs.exports import REPORT

    if name.endswith(".onnx") or (Path(name) / REPORT).is_file():
        if size is not None:
            raise click.UsageError("--size is for a network; an exported file has a size of its own.")
        _say_integers(name, _exported(name), as_json)
        return
    from cifar_edge.errors import MissingExtra, ModelError, RecipeError
    from cifar_edge.messages import did_you_mean
    from cifar_edge.runs.resolve import named, resolve_run
    from cifar_edge.runs.run import Run

    folder = named(name) if name else None
    is_run = folder is not None and (Run(folder).is_begun or Run(folder).is_trained)
    if not is_run and name not in NETWORKS:
        if name and size is None and (integers := _readable(name)):
            _say_integers(name, integers, as_json)
            return
        if folder is not None:
            raise RecipeError(f"{display_name(name)} is neither a run, nor the folder of an export, nor an .onnx file")
        known = f"{did_you_mean(name, NETWORKS)}; there are {', '.join(sorted(NETWORKS))}"
        raise RecipeError(f"no network is called {name!r}{known}")
    try:
        with needs("train"):
            from cifar_edge.folding.description import folded_network
            from cifar_edge.models import build, summarize
            from cifar_edge.training.checkpoint import read_weights
    except MissingExtra:
        integers = _readable(name) if size is None else None
        if integers is None:
            raise
        note(
            f"without the extra train the network as trained is not shown; this is the int8 file of "
            f"{display_name(name)}"
        )
        _say_integers(name, integers, as_json)
        return
    from cifar_edge.runs.reading import NamedNetwork
    from cifar_edge.spec import CIFAR10_LABELS, IMAGE_SIZE

    network, int8, weights = NamedNetwork(name, CIFAR10_LABELS, IMAGE_SIZE), None, None
    if folder is not None and is_run:
        run = Run(resolve_run(folder).path)
        network, int8 = run.network(), _int8_of(run)
        weights = read_weights(run.weights()).state if run.is_trained else None
    side = size or network.size
    try:
        classes = len(network.labels)
        if network.layers is None:
            summary = summarize(build(network.model, classes, side, like=weights), side)
        else:
            summary = summarize(folded_network(network.layers, classes, side), side)
    except ValueError as error:
        raise ModelError(f"{display_name(name)} has no folded network ({error})") from error
    except ModelError as error:  # no such network is a usage error, as for train --model
        raise RecipeError(str(error)) from error
    if as_json:
        say(_json(network.model, summary, int8))
    else:
        say(summary.to_table(text_columns()) + (f"\n\nexported in int8:\n\n{_table(int8)}" if int8 else ""))


def _int8_of(run: "Run") -> "IntegerNetwork | None":
    """That of the int8 file that ``run`` was exported to; None where it has none, or one of a network with norms."""
    files = [file for file in run.export.files if file.name.endswith(".int8.onnx")]
    return _readable(str(files[0])) if len(files) == 1 else None


def _exported(name: str) -> "IntegerNetwork":
    from cifar_edge.integer import IntegerNetwork
    from cifar_edge.runs.resolve import precisions_beside, resolve_model

    path = resolve_model(name).path
    named_itself = Path(name).name in (path.name, path.stem)  # then another precision is not what is asked for
    return IntegerNetwork.from_onnx(path if named_itself else precisions_beside(path)[-1])


def _readable(name: str) -> "IntegerNetwork | None":
    """That of the int8 file that ``name`` means; None where there is none, or it has no integers alone."""
    from cifar_edge.errors import ContractError, ModelError

    with suppress(ContractError, ModelError):
        return _exported(name)
    return None


def _figures_in_c(network: "IntegerNetwork") -> dict[str, Any] | None:
    """What ``network`` costs in C; None where a layer has no form in C."""
    from cifar_edge import c

    try:
        return c.figures(network)
    except TypeError:
        return None


def _say_integers(name: str, network: "IntegerNetwork", as_json: bool) -> None:
    say(json.dumps({"model": name, **_record(network)}, indent=2) if as_json else _table(network))


def _table(network: "IntegerNetwork") -> str:
    """The integer layers for people, and what the C takes."""
    columns = text_columns()
    table, in_c = network.summary().to_table(columns), _figures_in_c(network)
    if in_c is None:
        return table
    state, flash = in_c["state_bytes"] / 1000, in_c["flash_bytes"] / 1000
    notes = [f"in C         {state:.1f} kB of RAM for the state of an image, about {flash:.1f} kB of flash"]
    indent = " " * 13
    if (instructions := in_c["estimated_instructions"]) is not None:
        each = ", ".join(f"{name} {number / 1e6:#.3g}" for name, number in instructions.items())
        notes += [f"{indent}estimated million instructions an image:", f"{indent}{each}"]
    return "\n".join([table, *(line for note in notes for line in wrapped(note, columns, indent))])


def _record(network: "IntegerNetwork") -> dict[str, object]:
    """The integer layers as JSON values, and what the C takes."""
    return {**asdict(network.summary()), "c": _figures_in_c(network)}


def _json(name: str, summary: "Summary", int8: "IntegerNetwork | None") -> str:
    sizes = {
        "input_mb": summary.input_mb,
        "forward_backward_mb": summary.forward_backward_mb,
        "parameters_mb": summary.parameters_mb,
        "total_mb": summary.total_mb,
    }
    exported = {"int8": _record(int8)} if int8 else {}
    return json.dumps({"model": name, **asdict(summary), **sizes, **exported}, indent=2)
