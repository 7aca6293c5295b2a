"""`cifar-edge serve`: classify images over HTTP."""

import os
import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cifar_edge.cli.completion import complete_model
from cifar_edge.cli.dependencies import needs
from cifar_edge.cli.value_types import WholeNumber
from cifar_edge.cli.verbosity import note, quiet, tell
from cifar_edge.errors import CifarEdgeError
from cifar_edge.messages import reason

if TYPE_CHECKING:
    from cifar_edge.runs.resolve import Resolved

TOKEN_VARIABLE = "CIFAR_EDGE_TOKEN"
_TOKEN = re.compile(r"[!-~]{16,512}")
"""Visible ASCII, as an Authorization header may contain."""
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
"""An Origin header as browsers send it (RFC 6454, section 6.2), or * for any."""
_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?")
"""A host name or an IPv4 address as in the Host header, without port."""
_OWN_PORTS = {"http": ":80", "https": ":443"}
"""Default ports, which browsers leave out."""


def _origins(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    origins = []
    for written in given:
        origin = written.removesuffix("/").lower()
        if not _ORIGIN.fullmatch(origin):
            raise click.BadParameter(f"{origin!r} is not an origin; give scheme://host or scheme://host:port.")
        origins.append(origin.removesuffix(_OWN_PORTS.get(origin.partition(":")[0], "")))
    return tuple(origins)


def _names(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    names = [written.lower().removeprefix("[").removesuffix("]") for written in given]
    for name in names:
        if not (_NAME.fullmatch(name) or _is_address(name)):
            raise click.BadParameter(f"{name!r} is not a host name or IP address; give it without port.")
    return tuple(names)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@click.command("serve")
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=complete_model)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option(
    "--port", metavar="N", default=8000, show_default=True, type=WholeNumber(0, 65535), help="0 takes a free port."
)
@click.option(
    "--token",
    metavar="TOKEN",
    envvar=TOKEN_VARIABLE,
    show_envvar=True,
    help="Token that clients must send. Others on this machine see arguments: better set the variable.",
)
@click.option("--no-auth", is_flag=True, help="Serve everyone who reaches ADDRESS.")
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    callback=_names,
    help="Also allow NAME in the Host header. Repeatable.",
)
@click.option(
    "--cors-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    callback=_origins,
    help="Allow requests from pages of ORIGIN. Repeatable.",
)
@click.option("--workers", metavar="N", type=WholeNumber(1, 256), help="Threads that classify.  [default: cores]")
def command(
    models: tuple[str, ...],
    host: str,
    port: int,
    token: str | None,
    no_auth: bool,
    names: tuple[str, ...],
    origins: tuple[str, ...],
    workers: int | None,
) -> None:
    """Classify images over HTTP, until Ctrl+C or SIGTERM.

    POST /v1/predict takes one or several images, GET /v1/models describes the models, GET /healthz says ok, and
    /openapi.json describes all paths. Without MODEL the model is that of predict. Of several the first answers, and
    another one where a request names it: /v1/predict?model=NAME.

    / is the web page of cifar-edge web with the same models, if the page was built before.

    By default only this machine can reach the service. Any other ADDRESS needs a token, or --no-auth. Clients use that
    ADDRESS, or a name that --allow-host allows. --quiet logs the address and errors, but no requests.

    Example: cifar-edge serve & curl -F image=@cat.png http://127.0.0.1:8000/v1/predict
    """
    with needs("serve"):
        from cifar_edge.service import server
        from cifar_edge.service.access import Access
        from cifar_edge.service.app import Service
        from cifar_edge.service.limits import ServiceLimits
    from cifar_edge.runs.resolve import resolve_model
    from cifar_edge.runtime.classifier import Classifier
    from cifar_edge.runtime.cores import cores
    from cifar_edge.runtime.quiet import silence_litert

    if token is not None and no_auth:
        raise click.UsageError(f"--no-auth and a token (--token, ${TOKEN_VARIABLE}) exclude each other.")
    if token is not None and not _TOKEN.fullmatch(token):
        raise click.UsageError("a token is 16 to 512 visible ASCII characters; `openssl rand -hex 16` makes one.")
    silence_litert()
    wanted = ServiceLimits(workers=workers or cores())
    limits = server.fitted(wanted)
    resolved = _named([(name, resolve_model(name)) for name in models or (None,)])
    classifiers = {name: Classifier(each) for name, each in resolved.items()}
    with server.listen(host, port) as listener:
        if not server.is_loopback(listener) and token is None and not no_auth:
            raise click.UsageError(
                f"others can reach {host}: set ${TOKEN_VARIABLE} to a token that they must send, or give --no-auth."
            )
        hosts = server.own_names(listener, host) | set(names)
        access = Access(token, hosts, server.has_any_address(listener), origins)
        files = [each.path for each in resolved.values()]
        service = Service(classifiers, limits, access, page_files(files, secured=token is not None))
        for each in resolved.values():
            note(f"model: {each}")
        if limits.connections < wanted.connections:
            note(f"connections: at most {limits.connections:,}, because of the limit of open files (ulimit -n)")
        tell(f"serving at {server.url(listener)}; Ctrl+C stops it")
        requests = server.run(service, limits, listener, quiet())
    note(f"stopped; requests: {requests:,}")
    if not service.close():
        os._exit(0)  # Python would wait for threads that decode abandoned images


def _named(models: "Sequence[tuple[str | None, Resolved]]") -> "dict[str, Resolved]":
    """The models by their names: the last part of what was given, else of the file without its suffix."""
    named: dict[str, Resolved] = {}
    for given, resolved in models:
        last = Path(given).absolute().name if given else resolved.path.stem  # "." has a name, too
        name = os.fsencode(last).decode(errors="replace")
        if name in named:
            raise click.UsageError(f"two models are called {name!r}; serve files or runs of different names.")
        named[name] = resolved
    return named


def page_files(models: Sequence[Path], secured: bool) -> dict[str, bytes] | None:
    """The files of the web page with ``models``; None if the page was not built, or cannot be read."""
    from cifar_edge.web.build import found_page
    from cifar_edge.web.site import site_files

    try:
        if built := found_page():
            return site_files(built, models, keep_models=not secured)[1]
    except (OSError, CifarEdgeError) as error:
        tell(f"serving without the web page: {reason(error)}")
    return None
