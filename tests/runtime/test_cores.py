"""How many cores a process may use: affinity, quotas of cgroups as Linux shows them, and who asks."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from conftest import CHECKOUT
from hypothesis import given
from hypothesis import strategies as st

from cifar_edge.cli.main import main
from cifar_edge.files import released
from cifar_edge.measure.processor import processor
from cifar_edge.measure.timing import machine
from cifar_edge.runtime.cores import cores

V2 = "0::/{}\n"
V1 = "12:pids:/{0}\n5:cpuacct,cpu:/{0}\n1:name=systemd:/{0}\n0::/{0}\n"


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)


def tree(root: Path, cgroup: str | bytes, files: dict[str, str | bytes]) -> Path:
    """A root with ``/proc/self/cgroup`` and these files under ``/sys/fs/cgroup``."""
    for name, content in {"proc/self/cgroup": cgroup, **{f"sys/fs/cgroup/{key}": files[key] for key in files}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


@pytest.mark.parametrize(
    ("path", "files", "expected"),
    [
        ("", {"cpu.max": "200000 100000\n"}, 2),
        ("", {"cpu.max": "150000 100000\n"}, 2),
        ("", {"cpu.max": "10000 100000\n"}, 1),
        ("", {"cpu.max": "max 100000\n"}, 8),
        ("", {"cpu.max": "6400000 100000\n"}, 8),
        ("", {}, 8),
        ("pod/box", {"cpu.max": "max 100000\n", "pod/cpu.max": "300000 100000\n", "pod/box/cpu.max": "max 100000"}, 3),
        ("pod/box", {"pod/cpu.max": "300000 100000\n", "pod/box/cpu.max": "400000 100000\n"}, 3),
        ("pod/box", {"pod/cpu.max": "500000 100000\n", "pod/box/cpu.max": "400000 100000\n"}, 4),
        ("pod/box", {"other/cpu.max": "100000 100000\n", "pod/box/below/cpu.max": "100000 100000\n"}, 8),
        ("docker/of-the-host", {"cpu.max": "200000 100000\n"}, 2),  # its own cgroup is mounted as the root
        ("../../elsewhere", {"cpu.max": "200000 100000\n"}, 2),
    ],
)
def test_quotas_of_cgroup_v2(path: str, files: dict[str, str | bytes], expected: int, tmp_path: Path) -> None:
    assert cores(tree(tmp_path, V2.format(path), files)) == expected


@pytest.mark.parametrize("folder", ["cpu", "cpuacct,cpu"])
@pytest.mark.parametrize(
    ("path", "quotas", "expected"),
    [
        ("", {"": (200_000, 100_000)}, 2),
        ("", {"": (75_000, 50_000)}, 2),
        ("", {"": (-1, 100_000)}, 8),
        ("pod/box", {"": (-1, 100_000), "pod/": (300_000, 100_000), "pod/box/": (-1, 100_000)}, 3),
        ("docker/of-the-host", {"": (100_000, 100_000)}, 1),
    ],
)
def test_quotas_of_cgroup_v1(
    folder: str, path: str, quotas: dict[str, tuple[int, int]], expected: int, tmp_path: Path
) -> None:
    files: dict[str, str | bytes] = {}
    for level, (quota, period) in quotas.items():
        files[f"{folder}/{level}cpu.cfs_quota_us"] = f"{quota}\n"
        files[f"{folder}/{level}cpu.cfs_period_us"] = f"{period}\n"
    assert cores(tree(tmp_path, V1.format(path), files)) == expected


@pytest.mark.parametrize(
    "quota", ["", "max", "many 100000", "100000", "100000 0", "0 100000", "-5 100000", "1e5 100000", b"\xff\0 \xfe"]
)
def test_what_is_no_quota_limits_nothing(quota: str | bytes, tmp_path: Path) -> None:
    assert cores(tree(tmp_path, V2.format("a"), {"a/cpu.max": quota})) == 8
    assert cores(tree(tmp_path, V2.format("a"), {"cpu.max": "100000 100000", "a/cpu.max": quota})) == 1


@given(cgroup=st.binary(max_size=60), quota=st.binary(max_size=30))
def test_whatever_is_there_it_is_a_number_of_cores(
    tmp_path_factory: pytest.TempPathFactory, cgroup: bytes, quota: bytes
) -> None:
    root = tmp_path_factory.mktemp("root")
    assert 1 <= cores(tree(root, b"0::/" + cgroup, {"cpu.max": quota})) <= 8
    assert 1 <= cores(tree(root, cgroup, {"cpu.max": quota})) <= 8


def test_affinity_and_systems_without_any_of_this(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cores(tmp_path) == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5}, raising=False)
    assert cores(tree(tmp_path, V2.format(""), {"cpu.max": "200000 100000"})) == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores(tmp_path) == 1
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert cores(tmp_path / "nothing") == 4


def test_who_tells_of_cores_tells_of_those_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert machine().startswith(f"{processor()}, 1 core, ")
    said = json.loads(CliRunner().invoke(main, ["info", "--json"]).stdout)["processor"]
    assert (said["cores"], said["machine_cores"]) == (1, 64)
    assert ", 1 of 64 cores" in " ".join(CliRunner().invoke(main, ["info"]).stdout.split())


@pytest.mark.parametrize(
    ("allowed", "variable", "threads"),
    [(1, None, 1), (2, None, 2), (4, None, 2), (1, "OMP_NUM_THREADS", 2), (1, "MKL_NUM_THREADS", 2)],
)
@pytest.mark.parametrize(
    "command", ["train --data sample --recipe run/recipe.toml", "fold run --continue", "export run"]
)
def test_torch_runs_no_more_threads_than_there_are_cores(
    command: str,
    allowed: int,
    variable: str | None,
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(released("models/gn-cnn-nano"), "run")
    for file in Path("run").glob("*.safetensors"):  # what is wrong with these is seen once torch is there
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    Path("run/recipe.toml").write_text("epoch = 3")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(allowed)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS")
    if variable is not None:
        monkeypatch.setenv(variable, "2")
    torch.set_num_threads(2)  # as torch itself counts, which sees no quota
    try:
        done = CliRunner().invoke(main, command.split())
        assert done.exit_code in (1, 2), done.output
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)


def test_nobody_else_counts_cores() -> None:
    counting = {
        str(file.relative_to(CHECKOUT / "cifar_edge"))
        for file in (CHECKOUT / "cifar_edge").rglob("*.py")
        if re.search("cpu_count|sched_getaffinity", file.read_text())
    }
    assert counting == {"runtime/cores.py", "cli/info.py"}  # info tells how many the machine has besides
