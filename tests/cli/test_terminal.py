"""What strangers wrote reaches the terminal as text: nothing in it breaks a line, moves the cursor or turns around."""

import ast
import json
import os
import pty
import re
import shutil
import subprocess
import termios
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from data_helpers import serving, small_spec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from make_tiny_model import changed_metadata, tiny_model
from PIL import Image

from cifar_edge.cli.main import main
from cifar_edge.cli.status_line import StatusLine
from cifar_edge.cli.verbosity import error_text, note
from cifar_edge.data import Dataset
from cifar_edge.data.cifar10.fetch import MIRRORS_VARIABLE, fetch
from cifar_edge.errors import DataError
from cifar_edge.messages import display_name, shell_word

HOSTILE = "\x1b]0;owned\x07\x9b2J\r\u202egnp\u2028\u2066"
"""Sets the title of the window, clears the screen, goes to the beginning of the line, and writes from right to left."""
UNFIT = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""All that may not be printed; a line feed ends a line of ours."""
JOINED = (
    "\u0646\u06cc\u0645\u200c\u0641\u0627\u0635\u0644\u0647",
    "👩\u200d👩\u200d👧‍👦",
    "क्\u200dष",
    "עברית\u200f",
    "naïve café",
    "東京　駅",
    "🏴\U000e0067\U000e0062\U000e007f",
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert not UNFIT.search(result.stdout + result.stderr)
    assert "Traceback" not in result.stderr
    return result


@pytest.mark.parametrize("name", JOINED)
def test_names_of_all_languages_are_shown_as_they_are(name: str, sample: Dataset) -> None:
    assert display_name(name) == name
    Image.fromarray(sample.test_images[0]).save(f"{name}.png")
    assert run("predict", f"{name}.png").stdout.endswith(f"  {name}.png\n")
    assert run("predict", f"{name}.jpg").stderr.endswith(f"Error: {name}.jpg: no such file\n")


@given(st.text())
def test_any_name_is_shown_so_that_it_can_be_told(name: str) -> None:
    shown = display_name(name)
    assert not UNFIT.search(shown)
    assert "\n" not in shown
    assert shown == name or ast.literal_eval(shown) == name


def test_names_and_labels(sample: Dataset) -> None:
    Image.fromarray(sample.test_images[0]).save(f"{HOSTILE}.png")
    labels = [f"{HOSTILE}{number}" for number in range(10)]
    Path("hostile.onnx").write_bytes(tiny_model(metadata=changed_metadata(labels=labels)))
    Path("named.onnx").write_bytes(tiny_model(metadata=changed_metadata(model=HOSTILE)))
    assert "its metadata has model = " in run("predict", "--model", "named.onnx", f"{HOSTILE}.png").stderr
    for form in ([], ["--csv"], ["--json"], ["--jsonl"]):
        result = run("predict", "--model", "hostile.onnx", f"{HOSTILE}.png", f"{HOSTILE}.gone", "--top", "9", *form)
        assert result.exit_code == 1
    assert r"'\x1b]0;owned" in run("predict", "--model", "hostile.onnx", f"{HOSTILE}.png").stdout
    assert run("evaluate", "hostile.onnx", "--data", "sample").exit_code == 1
    Path(f"{HOSTILE}.onnx").write_bytes(tiny_model())
    assert run("evaluate", f"{HOSTILE}.onnx", "--data", "sample").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [HOSTILE],
        ["predict", f"--{HOSTILE}"],
        ["predict", "-r", HOSTILE],
        ["predict", "--from-file", HOSTILE],
        ["predict", "--top", HOSTILE, "x"],
        ["predict", "--model", HOSTILE, "x"],
        ["predict", "--resume", f"{HOSTILE}/x", "x"],
        ["evaluate", HOSTILE],
        ["summary", HOSTILE],
        ["export", HOSTILE],
        ["fold", HOSTILE],
        ["data", "--data", HOSTILE],
        ["train", "--resume", HOSTILE],
        ["train", "--recipe", HOSTILE],
        ["train", "--set", f"{HOSTILE}=1"],
        ["train", "--model", HOSTILE],
    ],
)
def test_arguments(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code in (1, 2)
    assert "Error: " in result.stderr


@pytest.mark.parametrize("arguments", [["data", "a\nb"], ["predict", "--a\nb"], ["fold", "a", "b\nc"]])
def test_a_line_feed_in_an_argument_does_not_break_the_line_of_an_error(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@given(st.binary(min_size=1, max_size=12).filter(lambda name: 0 not in name))
@example(b"it's\n\\x41\xff")
@example("\u2028\u202e猫".encode())
@settings(max_examples=25, deadline=None)
def test_a_name_in_a_command_means_the_same_file_in_a_shell(name: bytes) -> None:
    word = shell_word(os.fsdecode(name))
    assert not UNFIT.search(word)
    assert "\n" not in word
    shell = subprocess.run(
        ["bash", "-c", f"printf %s {word}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert shell.stdout == name


def test_runs() -> None:
    Path(f"runs/{HOSTILE}").mkdir()
    summary = {"model": HOSTILE, "created": "2026-01-01T00:00:00+00:00", "epochs": 1, "test_accuracy": 0.5}
    summary |= {"parameters": HOSTILE, "seconds": 1, "device": HOSTILE, "finished": "2026-01-01T00:00:00+00:00"}
    Path(f"runs/{HOSTILE}/summary.json").write_text(json.dumps(summary))
    assert r"\x1b]0;owned" in run("runs").stdout
    run("info")
    run("train", "--resume", HOSTILE)
    run("export")
    run("summary", HOSTILE)


def test_images_of_hostile_classes(sample: Dataset) -> None:
    for label, numbers in ((f"{HOSTILE}a", range(8)), ("b", range(8, 10))):
        Path("pets", label).mkdir(parents=True)
        for number in numbers:
            Image.fromarray(sample.test_images[number]).save(Path("pets", label, f"{number}.png"))
        Path("pets", label, f"{HOSTILE}.png").write_text("This is not an image.")
    result = run("data", "--data", "pets", "--holdout", "0.5")
    assert result.exit_code == 0
    assert r"\x1b]0;owned" in result.stdout


def test_what_a_mirror_answers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    with serving() as server:
        monkeypatch.setenv(MIRRORS_VARIABLE, f"{server.url('rude')} http://[::1 http://me:secret@[::1/ {HOSTILE}")
        with pytest.raises(DataError, match="none of"):
            fetch(small_spec(), Path("cache"), report=note, progress=lambda transfer: None)
    said = capsys.readouterr().err
    assert not UNFIT.search(said)
    assert "127.0.0.1: answers 503 ]0;owned 2J" in said
    assert "http://[::1: neither an http:// nor an https:// address" in said
    assert "secret" not in said


def test_a_note_is_broken_between_words_on_a_terminal_and_one_line_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    line = f"{'many words ' * 12}then: cifar-edge train --resume 'runs/my pets'"
    note(line)
    assert capfd.readouterr().err == f"{line}\n"
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 60))
    with os.fdopen(ours, "rb", buffering=0), os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        note(line)
        error = error_text(DataError(line))
        shown = os.read(ours, 1000).decode().splitlines()
    assert " ".join(part.strip() for part in shown) == line
    assert max(map(len, shown)) <= 60
    assert shown[-1] == "  cifar-edge train --resume 'runs/my pets'"
    assert max(map(len, error.splitlines())) <= 60


def test_a_status_line_fits_the_terminal_of_stderr_though_results_go_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 40))
    monkeypatch.delenv("COLUMNS", raising=False)
    with os.fdopen(ours, "rb", buffering=0), os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        StatusLine().show("100 inputs " * 20)
        written = os.read(ours, 1000)
    assert len(written.lstrip(b"\r")) == 39
