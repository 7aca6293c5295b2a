"""`cifar-edge verify-c`: compare what a board printed with the model."""

import json
from pathlib import Path

import click

from cifar_edge.cli.completion import complete_model
from cifar_edge.cli.value_types import File
from cifar_edge.cli.verbosity import note, say
from cifar_edge.messages import display_name


@click.command("verify-c")
@click.argument("log", type=File(exists=True))
@click.option(
    "--model",
    metavar="MODEL",
    shell_complete=complete_model,
    help="A released name, a run, a folder or an int8 .onnx file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(log: Path, model: str | None, as_json: bool) -> None:
    """Compare what a board printed with the model.

    LOG is what selftest.c, in the folder that export --target c writes, has printed on the board; - is stdin. Other
    lines in it, and text before its lines, do not matter. Every int32 logit of its images is compared with what the
    integer network in MODEL computes, bit for bit. If one differs, the exit code is 3.

    Without --model it takes the model that predict takes, in int8.

    Example: cifar-edge verify-c board.log --model gn-cnn
    """
    from cifar_edge.c.board_log import BoardLog
    from cifar_edge.c.figures import IMAGES
    from cifar_edge.data import load_dataset
    from cifar_edge.errors import DataError, GateFailed, ModelError
    from cifar_edge.integer import IntegerNetwork
    from cifar_edge.messages import listed
    from cifar_edge.model_file.reading import read_graph
    from cifar_edge.runs.resolve import Resolved, resolve_model

    found, name = resolve_model(model), "stdin" if str(log) == "-" else display_name(log)
    path = _int8(found.path)
    shown = Resolved(path, found.reason)
    note(f"model: {shown}")
    _, metadata = read_graph(path)
    network = IntegerNetwork.from_onnx(path)
    text = _text(log)
    if not text.strip():
        raise DataError(f"{name} is empty; what the board prints has to go into it (qemu prints it on stderr)")
    board = BoardLog.parse(text)
    if not board.logits:
        raise DataError(f"{name} has no line of the self-test, such as 'image 0: 12 -34'; give all it printed")
    if board.model not in (None, metadata.identity):
        advice = "name its file with --model" if model is None else "they have to be of one export"
        raise ModelError(f"the board ran {board.model}, and {shown} is {metadata.identity}; {advice}")
    if board.integers not in (None, network.digest):
        raise ModelError(
            f"the board ran integers of another export of {metadata.identity} than {shown}; name the .onnx file that "
            "was written with its C, or export the C anew"
        )
    if missing := board.missing():
        raise DataError(f"{name} has no logits of image {listed(list(map(str, missing)))}; give all that was printed")
    if not board.ended:
        raise DataError(f"{name} ends early: image {max(board.logits)} is not followed by ok or failed; give all of it")
    images = min(len(board.logits), IMAGES)  # a self-test may be compiled with fewer
    expected = network(load_dataset("sample", size=network.size).test_images[:images])
    if differing := board.differing(expected):
        layers = sorted({board.layers[image] for image in differing if image in board.layers})
        where = f"; the first layer that differs is {' or '.join(layers)}" if layers else ""
        raise GateFailed(
            f"the board computes something else: {len(differing)} of {images} images have other logits "
            f"(image {listed(list(map(str, differing)))}){where}"
        )
    if as_json:
        say(json.dumps({"model": metadata.identity, "images": images, "cycles": board.cycles}, indent=2))
        return
    say(
        f"ok: the board computes {metadata.identity}, every logit of {'1 image' if images == 1 else f'{images} images'}"
    )
    if board.cycles is not None:
        say(f"{board.cycles:,} cycles an image, with the checksums of the test")


def _text(log: Path) -> str:
    with click.open_file(str(log), "rb") as file:
        content: bytes = file.read()
    # PowerShell redirects into UTF-16.
    return content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8", "replace")


def _int8(path: Path) -> Path:
    """``path``, or the int8 file beside it if it is fp32."""
    from cifar_edge.runs.resolve import precisions_beside

    return next((file for file in precisions_beside(path) if file.name.endswith(".int8.onnx")), path)
