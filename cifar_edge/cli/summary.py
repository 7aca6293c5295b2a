"""`cifar-edge summary`: a network's layers and what they cost."""

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cifar_edge.cli.extras import needs

if TYPE_CHECKING:
    from cifar_edge.models.summary import Layer, Summary


@click.command("summary")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the layers that the table leaves out.")
def command(name: str, as_json: bool) -> None:
    """Print a network's layers, shapes, parameters and MACs.

    NAME is a network such as gn-cnn or s8-layer, here for ten classes. Layers that neither hold parameters nor shrink
    their input (ReLU, Dropout, Flatten) are numbered, not printed. MACs are the multiply-accumulates of convolutions
    and linear layers. Sizes are for one float32 image, in MB of 2^20 bytes; forward/backward counts every layer's
    output and its gradient.
    """
    with needs("train"):
        from cifar_edge.models import build
        from cifar_edge.models.summary import summarize

    summary = summarize(build(name))
    click.echo(_json(name, summary) if as_json else text_table(summary))


def _json(name: str, summary: "Summary") -> str:
    sizes = {
        "input_mb": summary.input_mb,
        "forward_backward_mb": summary.forward_backward_mb,
        "parameters_mb": summary.parameters_mb,
        "total_mb": summary.total_mb,
    }
    return json.dumps({"model": name, **asdict(summary), **sizes}, indent=2)


def text_table(summary: "Summary") -> str:
    """The layers and the sizes for people, 60 columns wide."""
    row = "{:<22}{:<16}{:>10}{:>12}".format
    lines = [row("layer", "output", "parameters", "MACs")]
    lines += [
        row(
            layer.name + (" (1x1)" if layer.kernel == (1, 1) else ""),
            str(list(layer.output)),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.macs:,}" if layer.macs else "",
        ).rstrip()
        for layer in summary.layers
        if _is_listed(layer)
    ]
    lines += [
        row("total", "", f"{summary.parameters:,}", f"{summary.macs:,}"),
        "",
        f"input             {summary.input_mb:.2f} MB",
        f"forward/backward  {summary.forward_backward_mb:.2f} MB",
        f"parameters        {summary.parameters_mb:.2f} MB",
        f"total             {summary.total_mb:.2f} MB",
    ]
    return "\n".join(lines)


def _is_listed(layer: "Layer") -> bool:
    return layer.parameters > 0 or math.prod(layer.output) < math.prod(layer.input)
