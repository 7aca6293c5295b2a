"""`cifar-edge data`, and what a person sees of a download in a terminal."""

import json
import os
import pty
import sys
from contextlib import suppress
from io import RawIOBase
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from data_helpers import serving, small_spec
from PIL import Image

from cifar_edge.c import library
from cifar_edge.cli.loading import load
from cifar_edge.cli.main import main
from cifar_edge.columns import width
from cifar_edge.data import Dataset
from cifar_edge.data.cache import COMPILED
from cifar_edge.data.sample import FOLDER, RECORD
from cifar_edge.spec import CIFAR10_LABELS


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cifar_edge.data.load.cache_folder", lambda: tmp_path / "cache")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["data", *arguments])


def test_table_fits_a_terminal() -> None:
    result = run("--data", "sample")
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "cifar10-sample: 500 training and 250 test images, 32x32 RGB"
    assert [line.split() for line in lines[-10:]] == [[name, "50", "25"] for name in CIFAR10_LABELS]
    assert max(map(len, lines)) < 80


def test_wide_class_names_do_not_shift_the_table(tmp_path: Path, sample: Dataset) -> None:
    for start, label in enumerate(("猫", "dog", "cafe\u0301")):
        (tmp_path / label).mkdir()
        for number in range(4 * start, 4 * start + 4):
            Image.fromarray(sample.test_images[number]).save(tmp_path / label / f"{number}.png")
    lines = run("--data", str(tmp_path), "--holdout", "0.5").stdout.splitlines()
    table = lines[lines.index("") + 1 :][:4]
    assert {width(line) for line in table} == {38}
    assert table[-1] == "  猫                       2         2"


def test_json() -> None:
    record = json.loads(run("--data", "sample", "--json").stdout)
    assert record["labels"] == list(CIFAR10_LABELS)
    assert record["path"] is None
    assert record["train"] == {"images": 500, "per_class": dict.fromkeys(CIFAR10_LABELS, 50)}
    assert record["test"] == {"images": 250, "per_class": dict.fromkeys(CIFAR10_LABELS, 25)}
    known = json.loads((FOLDER / RECORD).read_text())["sha256"]
    assert record["sha256"] == {**known["train and more"], **known["test"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "Error: there is no nowhere; give an image folder (CLASS/* with --holdout, "),
        (["--offline"], "Error: CIFAR-10 is not in the cache ("),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def _all_of(screen: RawIOBase) -> bytes:
    """All that was written to a closed terminal. A read returns a part of it, and raises an error at the end."""
    parts: list[bytes] = []
    with suppress(OSError):
        while part := screen.read(100_000):
            parts.append(part)
    return b"".join(parts)


def test_a_terminal_shows_a_bar_that_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("COLUMNS", "80")
    here, there = pty.openpty()
    with serving() as server, os.fdopen(here, "rb", buffering=0) as screen:
        monkeypatch.setattr("cifar_edge.data.load.CIFAR10", small_spec(server.url("leisurely")))
        with os.fdopen(there, "w") as terminal, monkeypatch.context() as patched:
            patched.setattr(sys, "stderr", terminal)
            load(None, offline=False)
        shown = _all_of(screen).decode()
    lines = shown.split("\r\n")
    assert lines[0] == "fetching SMALL-10 from 127.0.0.1"
    states = [state for state in lines[1].split("\r") if state.strip()]
    bars, kept = states[:-1], states[-1]
    assert len(bars) > 3
    assert all(state.startswith("  [") and "B/s" in state and len(state) < 80 for state in bars)
    said = " ".join(part.strip() for part in (kept, *lines[2:])).rstrip()  # the path may have a line of its own
    assert said == f"verified and kept as {tmp_path / 'cache' / 'small.npz'}"


def test_compiled_c_has_its_folder_in_the_cache() -> None:
    assert COMPILED == library.FOLDER
