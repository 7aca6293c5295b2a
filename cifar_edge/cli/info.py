"""`cifar-edge info`: show versions, processor, cache, models and runs."""

import json
import os
import platform
import re
from collections import Counter
from importlib import metadata
from typing import Any

import click

from cifar_edge import __version__
from cifar_edge.cli.installation import installed_version, problems
from cifar_edge.cli.narrow import text_columns
from cifar_edge.cli.verbosity import say
from cifar_edge.columns import wrapped

_INDENT = 16

_BASE = ("onnxruntime", "numpy", "Pillow", "click", "platformdirs")
_NOT_FOR_USERS = ("bench", "dev")
"""Extras for the development of cifar-edge."""


@click.command("info")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Show versions, processor, cache, models and runs.

    It prints which packages of the extras are installed, which int8 instructions the processor has, and which model
    predict would take, and why; last, what is wrong with the installation, and how to mend it. It needs only the base
    install, loads no model, and does not fail if something is missing.

    Example: cifar-edge info
    """
    record: dict[str, Any] = {
        "version": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: installed_version(name) for name in _BASE},
        "extras": _extras(),
        "processor": _processor(),
        "cache": _cache(),
        "data": _data(),
        "models": _models(),
        "runs": _runs(),
        "predict": _predict(),
    }
    record["problems"] = problems(record)
    say(json.dumps(record, indent=2) if as_json else text_report(record))


def _extras() -> dict[str, dict[str, str | None]]:
    """Extra -> package -> version, None if it is missing; extras are those that the installed cifar-edge declares."""
    try:
        declared = metadata.requires("cifar-edge") or []
    except metadata.PackageNotFoundError:
        return {}
    extras: dict[str, dict[str, str | None]] = {}
    for requirement in declared:
        found = re.match(r"([\w.-]+).*\bextra\s*==\s*['\"]([\w.-]+)['\"]", requirement)
        if found and found[2] not in _NOT_FOR_USERS:
            extras.setdefault(found[2], {})[found[1]] = installed_version(found[1])
    return extras


def _processor() -> dict[str, Any]:
    from cifar_edge.measure.processor import cpuinfo, int8_instructions, int8_verdict, processor
    from cifar_edge.runtime.cores import cores

    instructions = int8_instructions(cpuinfo())
    return {
        "name": processor(),
        "cores": cores(),
        "machine_cores": os.cpu_count(),
        "int8_instructions": instructions,
        "int8": int8_verdict(instructions),
    }


def _cache() -> dict[str, Any]:
    from cifar_edge.data.cache import cache_folder
    from cifar_edge.errors import DataError

    try:
        folder = cache_folder()
    except DataError as error:
        return {"path": None, "bytes": None, "error": str(error)}
    try:
        files = [file for file in folder.rglob("*") if file.is_file()]
        return {"path": str(folder), "bytes": sum(file.stat().st_size for file in files)}
    except OSError:  # not readable, or just being emptied by another process
        return {"path": str(folder), "bytes": None}


def _data() -> dict[str, Any]:
    from cifar_edge.data import location
    from cifar_edge.data.load import DATA_VARIABLE
    from cifar_edge.errors import DataError

    try:
        path = location()
        return {"path": None if path is None else str(path), "there": path is None or path.exists()}
    except (OSError, DataError):  # DataError: ~ of an unknown user, or no home for the cache
        return {"path": os.environ.get(DATA_VARIABLE) or "the cache", "there": False}


def _models() -> dict[str, list[str]]:
    """Released model -> its files."""
    from cifar_edge.runs.resolve import released_exports

    return {name: [file.name for file in files] for name, files in released_exports().items()}


def _runs() -> dict[str, Any]:
    from cifar_edge.runs.resolve import exported_runs
    from cifar_edge.runs.run import RUNS, list_runs

    try:
        path = RUNS.absolute()
    except FileNotFoundError:  # the current folder was deleted
        path = RUNS
    return {
        "path": str(path),
        "states": {run.path.name: run.state for run in list_runs()},
        "exported": [run.path.name for run in exported_runs()],
    }


def _predict() -> dict[str, str | None]:
    from cifar_edge.errors import ModelError
    from cifar_edge.runs.resolve import MODEL_VARIABLE, resolve_model
    from cifar_edge.runs.run import RUNS

    variable = os.environ.get(MODEL_VARIABLE)
    try:
        found = resolve_model()
    except ModelError as error:
        return {"model": None, "why": f"${MODEL_VARIABLE} is {variable!r}" if variable else None, "error": str(error)}
    if variable:
        why = f"${MODEL_VARIABLE} is {variable!r}"
    elif found.reason.startswith("released"):
        why = f"{found.reason}; ${MODEL_VARIABLE} is not set, and there is no export under ./{RUNS}"
    else:
        why = f"{found.reason}; ${MODEL_VARIABLE} is not set"
    return {"model": str(found.path), "why": why, "error": None}


def text_report(record: dict[str, Any]) -> str:
    """The record as text, as wide as `text_columns`, unless a path is longer."""
    processor, runs, cache, data, predict = (record[key] for key in ("processor", "runs", "cache", "data", "predict"))
    instructions = processor["int8_instructions"]
    size = "cannot be read" if cache["bytes"] is None else f"{cache['bytes'] / 1e6:.1f} MB"
    lines = [
        ("cifar-edge", f"{record['version']}, Python {record['python']}, {record['system']}"),
        ("packages", ", ".join(f"{name} {version or 'missing'}" for name, version in record["packages"].items())),
        *((f"  [{name}]", _extra_text(name, packages)) for name, packages in record["extras"].items()),
        ("processor", f"{processor['name']}, {_cores_text(processor)}"),
        ("  for int8", "unknown" if instructions is None else _instructions_text(instructions)),
        ("", processor["int8"]),
        ("cache", cache["error"] if cache["path"] is None else f"{_shown(cache['path'])} ({size})"),
        ("data", "the sample inside this package" if data["path"] is None else _data_text(data)),
        ("models", "; ".join(f"{name} ({_precisions(name, files)})" for name, files in record["models"].items())),
        ("runs", f"{_counts_text(runs)}, in {_shown(runs['path'])}"),
        ("predict takes", predict["error"] if predict["model"] is None else _shown(predict["model"])),
        ("", predict["why"] or ""),
    ]
    for each in record["problems"]:
        lines += [("problem", _shown(each["problem"])), ("  mend it", _shown(each["mend"]))]
    lines += [("problems", "none")] * (not record["problems"])
    columns = text_columns()
    shown = (wrapped(f"{title:<{_INDENT}}{text}", columns, " " * _INDENT) for title, text in lines if text)
    return "\n".join(line for entry in shown for line in entry)


def _shown(path: str) -> str:
    from cifar_edge.messages import display_name

    return display_name(path)


def _instructions_text(instructions: dict[str, bool]) -> str:
    return ", ".join(f"{name} {'yes' if has else 'no'}" for name, has in instructions.items())


def _cores_text(processor: dict[str, Any]) -> str:
    """Such as ``64 cores``, or ``2 of 64 cores`` if an affinity or the quota of a container allows fewer."""
    counts = dict.fromkeys([processor["cores"], processor["machine_cores"] or processor["cores"]])
    return f"{' of '.join(map(str, counts))} cores"


def _extra_text(name: str, packages: dict[str, str | None]) -> str:
    missing = [package for package, version in packages.items() if version is None]
    if missing:
        return f"missing {', '.join(missing)}: pip install 'cifar-edge[{name}]'"
    return ", ".join(f"{package} {version}" for package, version in packages.items())


def _counts_text(runs: dict[str, Any]) -> str:
    counts = {**Counter(runs["states"].values()), "exported": len(runs["exported"])}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none"


def _data_text(data: dict[str, Any]) -> str:
    return _shown(data["path"]) + ("" if data["there"] else " (not there)")


def _precisions(name: str, files: list[str]) -> str:
    return ", ".join(file.removeprefix(f"{name}.").removesuffix(".onnx") for file in files)
