"""`make demo`: what a visitor sees, from the photographs to the page."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CHECKOUT, ENTRY_POINT


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_demo_installs_what_it_needs_and_nothing_over_a_complete_installation(tmp_path: Path) -> None:
    def installed() -> list[str]:
        done = subprocess.run(
            ["make", "--dry-run", "demo", f"VENV={tmp_path}"], cwd=CHECKOUT, capture_output=True, text=True, check=True
        )
        return re.findall(r"pip install .*-e '\.\[(.*)\]'", done.stdout)

    assert installed() == ["train"]
    (tmp_path / "installed-for-demo").touch()
    assert installed() == []
    (tmp_path / "installed-for-demo").unlink()
    (tmp_path / "installed").touch()
    assert installed() == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_demo_ends_with_a_classifier_that_is_right(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = [str(ENTRY_POINT.parent), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(path), "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [CHECKOUT / "docs" / "demo.sh", tmp_path / "demo"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [int(number) for number in re.findall(r"\] (\d) of 6: ", done.stdout)] == [1, 2, 3, 4, 5, 6]
    end = done.stdout.split("\nDone in ")[1]
    right = re.findall(r"(fp32|int8): right on (\d+) of 250 photographs", end)
    assert [name for name, _ in right] == ["fp32", "int8"]
    assert all(int(count) > 0.9 * 250 for _, count in right)
    run = tmp_path / "demo" / "runs" / "photos"
    assert (run / "report.html").is_file()
    assert {"photos.int8.onnx", "photos.c"} <= {path.name for path in (run / "export").iterdir()}
    assert ("the page" in end) == (tmp_path / "demo" / "site").is_dir()
    short = done.stdout.replace(str(tmp_path / "demo"), "build/demo").replace(str(ENTRY_POINT.parent), ".venv/bin")
    ours = [*re.findall(r"^\[.*", short, re.MULTILINE), *short.split("\nDone in ")[1].splitlines()]
    assert [line for line in ours if len(line) > 80] == []
    (advice,) = re.findall(r"your own classes +(.+)", end)
    command = advice.replace("DIR", str(tmp_path / "demo" / "photos" / "train")).split()
    tried = subprocess.run(
        [*command, "--preview", tmp_path / "own.png"],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stderr
