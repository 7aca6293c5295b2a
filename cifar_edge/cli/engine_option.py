"""The option ``--engine``, by which a command says what runs an ``.onnx`` file."""

import click

engine_option = click.option(
    "--engine",
    type=click.Choice(["onnxruntime", "c"]),
    default="onnxruntime",
    show_default=True,
    help="Run in onnxruntime, or as C, compiled on this machine (int8 alone).",
)
"""Gives a command ``engine: str``, one of `cifar_edge.runtime.model.ENGINES`, which takes long to import."""
