"""`cifar-edge predict`: what is on these pictures?"""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cifar_edge.runtime.results import Prediction


@click.command("predict")
@click.argument("images", metavar="IMG...", nargs=-1, required=True, type=click.Path())
@click.option("--top", default=1, show_default=True, metavar="K", type=click.IntRange(min=1), help="Show K classes.")
@click.option("--model", metavar="MODEL", help="A released name, a run, a folder or an .onnx file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an array with one record an image.")
@click.pass_context
def command(ctx: click.Context, images: tuple[str, ...], top: int, model: str | None, as_json: bool) -> None:
    """Classify the pictures IMG..., in any format and size.

    Without --model it takes $CIFAR_EDGE_MODEL, else the newest export under ./runs, else the released gn-cnn, and says
    so on stderr. A picture that cannot be read does not stop the others; the exit code is then 1.

    Example: cifar-edge predict cat.jpg dog.png --top 3
    """
    from cifar_edge.errors import ImageError
    from cifar_edge.runtime.classifier import Classifier
    from cifar_edge.runtime.messages import display_name

    classifier = Classifier(model)
    click.echo(f"model: {classifier.source}", err=True)
    records: list[dict[str, Any]] = []
    failed = False
    for image in images:
        try:
            prediction = classifier.predict(image)
        except ImageError as error:
            failed = True
            click.echo(f"Error: {error}", err=True)
            records.append({"input": image, "error": str(error)})
            continue
        records.append(_record(image, prediction, top))
        if not as_json:
            click.echo(_lines(display_name(image), prediction, top))
    if as_json:
        click.echo(json.dumps(records, indent=2))
    if failed:
        ctx.exit(1)


def _record(image: str, prediction: "Prediction", top: int) -> dict[str, Any]:
    return {
        "input": image,
        "label": prediction.label,
        "index": prediction.index,
        "score": prediction.score,
        "top": [asdict(candidate) for candidate in prediction.top(top)],
    }


def _lines(name: str, prediction: "Prediction", top: int) -> str:
    """Label, score and name on a line, the further classes below; names last, for they may be of any length."""
    from cifar_edge.runtime.messages import display_name

    indent = 2 if top > 1 else 0
    width = min(max(len(display_name(label)) for label in prediction.labels), 40) + indent
    lines = [
        f"{' ' * indent * (rank > 0) + display_name(candidate.label):<{width}}  {candidate.score:6.1%}"
        for rank, candidate in enumerate(prediction.top(top))
    ]
    return "\n".join([f"{lines[0]}  {name}", *lines[1:]])
