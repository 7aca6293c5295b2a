"""`cifar-edge web`: a web page that classifies images in the browser."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cifar_edge.cli.verbosity import note, say

if TYPE_CHECKING:
    from cifar_edge.web.site import Site


@click.command("web")
@click.argument("model", metavar="[MODEL]", required=False)
@click.option(
    "--out", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Folder to write the page to."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the files and their bytes.")
def command(model: str | None, out: Path, as_json: bool) -> None:
    """Write a web page that classifies images in the browser.

    The folder is static: any web server can serve it, and it runs the same .onnx file as predict. An image is dropped,
    chosen, pasted or comes from the camera, and never leaves the browser; once loaded, the page works offline.

    MODEL is a released name, a run, a folder or an .onnx file; without it, the model of predict. In a checkout the page
    is built with npm the first time.

    Example: cifar-edge web --out site && python -m http.server --directory site --bind 127.0.0.1
    """
    from cifar_edge.runs.resolve import resolve_model
    from cifar_edge.web.build import built_page
    from cifar_edge.web.site import write_site

    resolved = resolve_model(model)
    note(f"model: {resolved}")
    page = built_page(note)
    site = write_site(page, resolved.path, out)
    say(json.dumps(_record(site, resolved.path), indent=2) if as_json else _lines(site))


def _record(site: "Site", model: Path) -> dict[str, object]:
    return {"folder": str(site.folder), "model": str(model), "version": site.version, "files": dict(site.files)}


def _lines(site: "Site") -> str:
    from cifar_edge.messages import display_name

    total, folder = sum(site.files.values()), display_name(str(site.folder))
    return "\n".join(
        [
            f"page      {folder}: {len(site.files)} files, {total / 1e6:.1f} MB",
            f"version   {site.version}",
            f"try it    python -m http.server --directory {shlex.quote(folder)} --bind 127.0.0.1",
        ]
    )
