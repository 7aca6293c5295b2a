"""What is wrong with an installation, and how to mend it: the last lines of `cifar-edge info`.

Only versions and records are read, nothing is loaded. So it takes no time, and works where an import fails.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Set
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

_VERSION = re.compile(r"\d+(?:\.\d+)*")
_CLAUSE = re.compile(r"(>=|<=|==|!=|<|>|~=)\s*([\w.*+!-]+)")


Problem = tuple[str, str]
"""What is wrong, and how to mend it."""


def problems(record: dict[str, Any]) -> list[dict[str, str]]:
    """The problems that the record of `cifar-edge info` shows: each a ``problem``, and how to ``mend`` it."""
    extras: dict[str, dict[str, str | None]] = record["extras"]
    counts = Counter(chain(record["packages"], *extras.values()))
    shared = {name for name, count in counts.items() if count > 1}
    found = [
        *_of_packages("", record["packages"]),
        *(each for extra, packages in extras.items() for each in _of_packages(f"[{extra}]", packages, shared)),
        *_of_model(record["predict"]),
        *_of_cache(record["cache"]),
        *_of_data(record["data"]),
    ]
    return [{"problem": problem, "mend": mend} for problem, mend in dict.fromkeys(found)]


def _of_packages(extra: str, packages: dict[str, str | None], shared: Set[str] = frozenset()) -> Iterator[Problem]:
    """Packages that are missing, and those that do not fit together; nothing of an extra that was not installed.

    Packages ``shared`` with the base install or another extra do not tell whether it was.
    """
    missing = [name for name, version in packages.items() if version is None]
    if extra and not packages.keys() - missing - shared:
        return
    if missing:
        yield f"{', '.join(missing)} missing", f"pip install 'cifar-edge{extra}'"
    for name, version in packages.items():
        if version is None:
            continue
        for requirement in _requirements("cifar-edge"):
            wanted, clauses, marker = _parsed(requirement)
            if wanted == _normal(name) and _counts(marker, extra) and not fits(version, clauses):
                yield _misfit("cifar-edge", name, version, clauses)
        for requirement in _requirements(name):  # torchvision names the one torch that it was built for
            wanted, clauses, marker = _parsed(requirement)
            has = None if marker else installed_version(wanted)
            if has is not None and not fits(has, clauses):
                yield _misfit(f"{name} {version}", wanted, has, clauses)


def _counts(marker: str, extra: str) -> bool:
    """Whether a requirement with this marker is one of the base install, or of ``extra``, such as ``[train]``."""
    return "extra" not in marker or (
        bool(extra) and re.search(rf"""['"]{re.escape(extra[1:-1])}['"]""", marker) is not None
    )


def _misfit(who: str, package: str, version: str, clauses: str) -> Problem:
    return f"{package} {version} does not fit: {who} needs {package}{clauses}", f"pip install '{package}{clauses}'"


def _parsed(requirement: str) -> tuple[str, str, str]:
    """Such as ``("torch", "==2.14.1", "")``: name, demands on the version, marker."""
    text, _, marker = requirement.partition(";")
    found = re.match(r"\s*([\w.-]+)", text)
    name = found[1] if found else ""
    clauses = ",".join(f"{sign}{version}" for sign, version in _CLAUSE.findall(text))
    return _normal(name), clauses, marker.strip()


def _normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def _requirements(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []


def installed_version(name: str) -> str | None:
    """The version of the installed package ``name``; None if there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def fits(version: str, clauses: str) -> bool:
    """Whether a version is one of those that ``clauses`` name, such as ``>=1.18.1,!=1.21.*``; True if in doubt.

    Only numbers count: a pre-release is taken for its release.
    """
    has = _numbers(version)
    for sign, wanted in _CLAUSE.findall(clauses):
        bound = _numbers(wanted)
        if not has or not bound:
            continue
        length = max(len(has), len(bound))
        left, right = (numbers + (0,) * (length - len(numbers)) for numbers in (has, bound))
        same = has[: len(bound)] == bound if wanted.endswith(".*") else left == right
        held = {
            ">=": left >= right,
            "<=": left <= right,
            ">": left > right,
            "<": left < right,
            "==": same,
            "!=": not same,
            "~=": left >= right and has[: len(bound) - 1] == bound[:-1],
        }
        if not held[sign]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    found = _VERSION.match(version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _of_model(predict: dict[str, str | None]) -> Iterator[Problem]:
    if predict["error"] is not None:
        yield f"predict finds no model: {predict['error']}", "name one with --model, or unset CIFAR_EDGE_MODEL"


def _of_cache(cache: dict[str, Any]) -> Iterator[Problem]:
    if cache["path"] is None:
        yield "there is no folder for the cache", "set HOME or XDG_CACHE_HOME"
        return
    folder = Path(cache["path"])
    # os.access says no where a folder may not be looked into; Path.exists raises an error.
    there = next((each for each in (folder, *folder.parents) if os.access(each, os.F_OK)), None)
    if there is None or not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield f"the cache cannot be written: {folder}", "mend the rights of that folder, or set XDG_CACHE_HOME"


def _of_data(data: dict[str, Any]) -> Iterator[Problem]:
    from cifar_edge.data.load import DATA_VARIABLE

    if os.environ.get(DATA_VARIABLE) and not data["there"]:
        yield f"${DATA_VARIABLE} names no data: {data['path']}", f"correct it, or unset {DATA_VARIABLE}"
