"""Counts the processor cores that this process may use, the default number of threads everywhere."""

import math
import os
from collections.abc import Iterator
from pathlib import Path


def cores(root: Path = Path("/")) -> int:
    """The processor cores that this process may use, at least 1: by its CPU affinity and the quotas of its cgroups.

    `taskset` and cpusets narrow the affinity. A container (``docker run --cpus``, a limit of Kubernetes) has a quota:
    it sees all cores, but is stopped for the rest of each period once it has used its share. A quota of one and a half
    cores counts as two.

    Args:
        root: where ``proc`` and ``sys`` are mounted.
    """
    # Not every system has it; where there is one, it is more exact than os.cpu_count.
    affinity = getattr(os, "sched_getaffinity", None)
    allowed = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min([allowed, *map(math.ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Cores by each quota that applies to this process; none without a readable cgroup."""
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        mounts = root / "sys" / "fs" / "cgroup"
        if not controllers:
            yield from filter(None, map(_quota_v2, _levels(mounts, path)))
        elif "cpu" in controllers.split(","):
            for name in ("cpu", controllers):  # a link and its target, not both of which exist everywhere
                yield from filter(None, map(_quota_v1, _levels(mounts / name, path)))


def _levels(mount: Path, path: str) -> Iterator[Path]:
    """The folders from ``mount`` down to the cgroup ``path``: the quotas of all of them apply.

    A container may see its own cgroup mounted as the root, but the path that the host has for it: then the folders
    below the root are missing.
    """
    folder = mount
    yield folder
    for name in path.split("/"):
        if name not in {"", ".."}:
            folder /= name
            yield folder


def _quota_v2(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").partition(" ")
    return _cores(quota, period)


def _quota_v1(folder: Path) -> float | None:
    return _cores(_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us"))


def _cores(quota: str, period: str) -> float | None:
    """Cores from a quota and a period in microseconds; None if there is no quota (``max``, -1, nonsense)."""
    try:
        found = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return found if found > 0 else None


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return ""
