"""`cifar-edge web`: a web page that classifies images in the browser."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cifar_edge.cli.completion import complete_model
from cifar_edge.cli.value_types import Folder
from cifar_edge.cli.verbosity import note, say

if TYPE_CHECKING:
    from cifar_edge.runs.resolve import Resolved
    from cifar_edge.web.site import Site

_BESIDE = ("gn-cnn-max", "gn-cnn-nano")
"""Released models that come with another one if none was named."""


@click.command("web")
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=complete_model)
@click.option("--out", required=True, metavar="DIR", type=Folder(), help="Folder to write the page to.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the files and their bytes.")
def command(models: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Write a web page that classifies images in the browser.

    The folder is static: any web server can serve it, and it runs the same .onnx file as predict. Images are dropped,
    chosen, pasted or come from the camera, and never leave the browser; once loaded, the page works offline.

    MODEL is a released name, a run, a folder or an .onnx file; of several, the visitor chooses. Without one it is the
    model of predict, and beside the released gn-cnn its relatives gn-cnn-max and gn-cnn-nano. In a checkout the page is
    built with npm the first time.

    Example: cifar-edge web --out site && python -m http.server --directory site --bind 127.0.0.1
    """
    from cifar_edge.web.build import built_page
    from cifar_edge.web.site import check_is_ours, write_site

    check_is_ours(out)
    resolved = resolved_models(models)
    for each in resolved:
        note(f"model: {each}")
    page = built_page(note)
    site = write_site(page, [each.path for each in resolved], out)
    say(json.dumps(_record(site, resolved), indent=2) if as_json else _lines(site))


def resolved_models(given: Sequence[str]) -> "list[Resolved]":
    """What MODEL arguments mean; without any the model of predict, with `_BESIDE` if that is a released one.

    Raises:
        ModelError: there is no such model.
        UsageError: a file is given twice.
    """
    from cifar_edge.files import is_released
    from cifar_edge.runs.resolve import resolve_model

    if given:
        models = [resolve_model(name) for name in given]
        if len({each.path.resolve() for each in models}) < len(models):
            raise click.UsageError("a model is given twice.")
        return models
    default = resolve_model()
    beside = [resolve_model(name) for name in _BESIDE] if is_released(default.path) else []
    return [default, *(each for each in beside if each.path != default.path)]


def _record(site: "Site", models: "Sequence[Resolved]") -> dict[str, object]:
    files = [str(each.path) for each in models]
    return {
        "folder": str(site.folder),
        "model": files[0],
        "models": files,
        "version": site.version,
        "files": dict(site.files),
    }


def _lines(site: "Site") -> str:
    from cifar_edge.messages import display_name, shell_word

    total, folder = sum(site.files.values()), str(site.folder)
    return "\n".join(
        [
            f"page      {display_name(folder)}: {len(site.files)} files, {total / 1e6:.1f} MB",
            f"version   {site.version}",
            f"try it    python -m http.server --directory {shell_word(folder)} --bind 127.0.0.1",
        ]
    )
