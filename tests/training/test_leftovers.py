"""What processes leave that were killed while they wrote, and what becomes of it: real ones, really killed."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import CHECKOUT
from image_folder_helpers import write_images
from killed import kill_before_it_renames
from tiny import TINY

from cifar_edge.data import load_dataset
from cifar_edge.files import replacing, write_text
from cifar_edge.web.site import write_site


def some_file(folder: Path) -> None:
    write_text(folder / "file.txt", "whole")


def own_pictures(folder: Path) -> None:
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    root = write_images(folder / "own", {"a": range(8), "b": range(8, 16)}, load_dataset("sample"))
    load_dataset(root, holdout=0.5)


def site(folder: Path) -> None:
    (folder / "page").mkdir(exist_ok=True)
    (folder / "page" / "index.html").write_text("<!doctype html>")
    (folder / "page" / "sw.js").write_text("// the worker")
    write_site(folder / "page", [TINY], folder / "site")


def run(folder: Path) -> None:
    from cifar_edge.runs.recipe import Recipe
    from cifar_edge.training.run import train

    train(Recipe(model="s8-group", epochs=1, batch_size=250), load_dataset("sample"), folder / "run")


@pytest.mark.parametrize("write", [some_file, own_pictures, site, run])
def test_the_next_process_removes_what_was_left(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    kill_before_it_renames(write, tmp_path)
    left = [*tmp_path.rglob(".cifar-edge-*")]
    assert left
    write(tmp_path)
    assert not [*tmp_path.rglob(".cifar-edge-*")]
    assert all([*file.parent.iterdir()] for file in left)


def test_what_another_still_writes_stays(tmp_path: Path) -> None:
    with replacing(tmp_path / "slow.txt") as temporary:
        temporary.write_text("slow")
        write_text(tmp_path / "quick.txt", "quick")
        assert temporary.exists()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"slow.txt": "slow", "quick.txt": "quick"}


def test_many_write_into_one_folder_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write_text(tmp_path / f"{number % 20}.txt", "whole"), range(400)))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {f"{n}.txt": "whole" for n in range(20)}


def test_files_that_cannot_be_removed_stop_nobody(tmp_path: Path) -> None:
    (tmp_path / ".cifar-edge-folder.txt").mkdir()
    (tmp_path / ".cifar-edge-link.txt").symlink_to("nowhere")
    write_text(tmp_path / "file.txt", "whole")
    assert (tmp_path / "file.txt").read_text() == "whole"


NPM = """#!/bin/sh
mkdir -p node_modules dist
echo '<!doctype html>' > dist/index.html
echo '// the page' > dist/main.js
echo '// the worker' > dist/sw.js
"""


def test_a_build_of_the_page_that_was_killed(tmp_path: Path) -> None:
    npm = tmp_path / "npm"
    variables = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(CHECKOUT)}
    variables["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    command = [sys.executable, "-m", "cifar_edge", "web", str(TINY), "--out", "site"]
    codes = []
    for program in (f"{NPM}kill -9 $PPID\n", NPM):
        npm.write_text(program)
        npm.chmod(0o755)
        codes.append(subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, check=False).returncode)
        left = [path.name for path in (tmp_path / "cache" / "cifar-edge" / "web").iterdir()]
        assert len(left) == (2 if len(codes) == 1 else 1), left
    assert codes == [-9, 0]
    assert (tmp_path / "site" / "index.html").is_file()
    (built,) = (tmp_path / "cache" / "cifar-edge").glob("web-*")
    for name in ("sw.js", "index.html", "main.js"):  # as whatever cleans up old files leaves it
        (built / name).unlink()
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert (done.returncode, "building the page" in done.stderr) == (0, True)
        assert (built / name).is_file()
