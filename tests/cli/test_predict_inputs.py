"""`cifar-edge predict`: which inputs a command line means, and which are errors."""

import codecs
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import ENTRY_POINT
from PIL import Image
from tiny import TINY

from cifar_edge.cli.inputs import Inputs
from cifar_edge.cli.main import main
from cifar_edge.data import Dataset


@pytest.fixture
def tree(sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: images on three levels, and other files among them."""
    image = Image.fromarray(sample.test_images[0])
    for name in ("b.png", "a/2.PNG", "a/10.jpg", "a/deep/x.webp", "a.bmp", "[1].png", "a/.hidden.png", ".git/g.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("These are holidays.")
    (tmp_path / "a" / "weights.h5").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "link.png").symlink_to("2.PNG")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predict(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["predict", "--model", str(TINY), *arguments])


def run(*arguments: str, stdin: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
    command: list[str | Path] = [ENTRY_POINT, "predict", "--model", TINY, "--jsonl", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60)


def names(*arguments: str, **options: Any) -> list[str]:
    return [given.name for given in Inputs(arguments, **options)]


IN_A = ["a/10.jpg", "a/2.PNG", "a/deep/x.webp", "a/link.png"]


@pytest.mark.usefixtures("tree")
def test_a_folder_is_walked_in_the_order_of_full_names() -> None:
    inputs = Inputs(["."], recursive=True)
    found = [given.name for given in inputs]
    assert found == ["./[1].png", "./a.bmp", *(f"./{name}" for name in IN_A), "./b.png"]
    assert found == sorted(found)
    assert inputs.skipped == 3
    assert names("a/", recursive=True) == names("a", recursive=True) == IN_A
    result = predict("-r", "a")
    assert result.exit_code == 0
    assert [line.split()[-1] for line in result.stdout.splitlines()] == IN_A
    assert result.stderr.splitlines()[1:] == [
        "left out 3 files in folders: hidden, or without the suffix of an image file"
    ]
    Path("a/IMG_1.HEIC").touch()
    assert predict("-r", "a").stderr.splitlines()[2:] == [
        "1 photograph among these, of a format that is not read, such as HEIC: convert them to JPEG"
    ]


@pytest.mark.usefixtures("tree")
def test_a_folder_needs_recursive_and_an_image() -> None:
    result = predict("a", "b.png", "empty", "-r")
    assert result.exit_code == 1
    assert "Error: empty: no file in this folder has the suffix of an image\n" in result.stderr
    assert predict("a").stderr.splitlines()[1:] == [
        "Error: a: a folder, not an image; --recursive reads the images in it"
    ]


@pytest.mark.parametrize("folder", ["photos", "a/photos/", "photos.2024", "b.png/deep", "line\nbreak"])
@pytest.mark.parametrize("more", [[], ["b.png"], ["--resume", "out.jsonl"], ["--json"]])
@pytest.mark.usefixtures("tree")
def test_a_folder_that_is_not_there_is_wrong_usage(folder: str, more: list[str]) -> None:
    result = predict("-r", folder, *more)
    shown = folder if folder.isprintable() else ascii(folder)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == f"Error: Invalid value for '[INPUT]...': there is no folder {shown}."
    assert not Path("out.jsonl").exists()


@pytest.mark.usefixtures("tree")
def test_an_image_that_is_not_there_does_not_stop_a_folder() -> None:
    result = predict("-r", "a", "gone.png", "*.gone")
    assert (result.exit_code, len(result.stdout.splitlines())) == (1, len(IN_A))
    assert "Error: gone.png: no such file\n" in result.stderr


@pytest.mark.usefixtures("tree")
def test_links_that_lead_to_no_folder_do_not_hide_the_others() -> None:
    Path("a/loop.png").symlink_to("loop.png")
    Path("a/far").symlink_to("x" * 300)  # as the system refuses to follow one into a forbidden folder
    result = predict("-r", "a")
    assert result.exit_code == 1
    assert [line.split()[-1] for line in result.stdout.splitlines()] == IN_A
    assert result.stderr.splitlines()[1:] == [
        "Error: a/loop.png: cannot be opened (Too many levels of symbolic links)",
        "left out 4 files in folders: hidden, or without the suffix of an image file",
    ]


@pytest.mark.parametrize("options", [[], ["-r"]])
@pytest.mark.usefixtures("tree")
def test_an_empty_name_is_not_a_folder(options: list[str]) -> None:
    result = predict("", "b.png", *options)
    assert (result.exit_code, len(result.stdout.splitlines())) == (1, 1)
    assert result.stderr.splitlines()[1:] == ["Error: the name of an input is empty"]


def test_patterns_that_the_shell_did_not_expand(tree: Path) -> None:
    assert names("a/*.[jP]*") == ["a/10.jpg", "a/2.PNG"]
    assert names("a/*/*.webp", "b.*") == ["a/deep/x.webp", "b.png"]
    assert names("[1].png") == ["[1].png"]
    assert names("?") == ["a"]
    (tree / "a" / "deep" / "again").symlink_to(tree / "a")  # with a/up, one that leads back: no end, for glob
    assert names("**/*.webp") == ["a/deep/x.webp"]
    assert names("**/**/x.*") == ["a/deep/x.webp"]
    assert names(f"{tree}/*/**/x.webp") == [f"{tree}/a/deep/x.webp"]
    files = [*IN_A, "a/notes.txt", "a/weights.h5"]
    assert names("a/**") == sorted([*files, "a/deep", "a/deep/again", "a/up"])
    assert names("**.png", "empty/**/x") == ["[1].png", "b.png", "empty/**/x"]
    result = predict("*.nothing", "b.png")
    assert result.exit_code == 1
    assert "Error: *.nothing: no file has this name, and none matches it as a pattern\n" in result.stderr


def test_a_list_of_names(tree: Path) -> None:
    strange = [b"b.png", b"a/2.PNG", "naïve 猫.png".encode(), b"\xff[*].png"]
    for name in strange[2:]:
        (tree / os.fsdecode(name)).write_bytes((tree / "b.png").read_bytes())
    expected = list(map(os.fsdecode, strange))
    (tree / "list").write_bytes(b"\n".join(strange))
    assert names(listed=Path("list")) == expected
    (tree / "list").write_bytes(b"\xef\xbb\xbf" + b"\r\n\r\n".join(strange) + b"\r\n")
    assert names("a.bmp", listed=Path("list")) == ["a.bmp", *expected]
    for encoding in ("utf-16", "utf-16-be"):  # as PowerShell writes it
        mark = b"" if encoding == "utf-16" else codecs.BOM_UTF16_BE
        (tree / "list").write_bytes(mark + "\r\n".join(expected[:3]).encode(encoding))
        assert names(listed=Path("list")) == expected[:3]
    (tree / "list").write_bytes(b"b.png\0line\nbreak\r")
    assert names(listed=Path("list"), null=True) == ["b.png", "line\nbreak\r"]
    (tree / "list").write_bytes(b"\0".join([*strange, b"line\nbreak\r"]) + b"\0")
    assert names(listed=Path("list"), null=True) == [*expected, "line\nbreak\r"]
    (tree / "list").touch()
    result = predict("--from-file", "list", "-0")
    assert (result.exit_code, len(result.stdout.splitlines())) == (1, 4)
    assert "Error: 'line\\nbreak\\r': no such file\n" in result.stderr


def test_what_is_not_a_list(tree: Path) -> None:
    for content, reason in (
        (b"x" * 200_000, "more than 65,536 bytes"),
        (bytes(9), "a null byte; -0 separates by them"),
    ):
        (tree / "odd").write_bytes(content)
        result = predict("--from-file", "odd")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.splitlines()[1:] == [f"Error: odd is not a list of names: one has {reason}"]
    assert predict("--from-file", "missing").exit_code == 2
    assert predict("--from-file", "a").exit_code == 2
    (tree / "none").touch()
    assert json.loads(predict("--from-file", "none", "--json").stdout) == []


def test_a_bad_list_is_reported_once_if_the_inputs_are_counted(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "zeros").write_bytes(bytes(200_000))
    monkeypatch.setattr("cifar_edge.cli.predict.alone_on_terminal", lambda results_elsewhere: True)
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    before = set(threading.enumerate())
    assert predict("--from-file", "zeros").stderr.count("Error: zeros is not a list of names") == 1
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert raised == []


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([], "Missing argument"),
        (["-", "--from-file", "-"], "stdin cannot be"),
        (["b.png", "-0"], "--from-file"),
        (["b.png", "--json", "--resume", "out.json"], "not --json"),
        (["b.png", "--workers", "0"], "--workers"),
        (["b.png", "--threshold", "2"], "--threshold"),
        (["b.png", "--threshold", "nan"], "--threshold"),
    ],
)
@pytest.mark.usefixtures("tree")
def test_wrong_usage(arguments: list[str], hint: str) -> None:
    result = predict(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert hint in result.stderr


def test_an_image_on_stdin(tree: Path) -> None:
    content = (tree / "b.png").read_bytes()
    done = run("a.bmp", "-", stdin=content)
    assert (done.returncode, done.stderr.splitlines()[1:]) == (0, [])
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["input"], second["input"]) == ("a.bmp", "-")
    assert first["label"] == second["label"]
    for stdin, reason in (
        (b"", "no bytes"),
        (b"text", "not an image in a supported format; convert it to JPEG"),
    ):
        done = run("-", stdin=stdin)
        assert done.returncode == 1
        assert json.loads(done.stdout) == {"version": 1, "input": "-", "error": f"standard input: {reason}"}
    closed = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", ENTRY_POINT, "predict", "--model", TINY, "-"], capture_output=True, check=False
    )
    assert (closed.returncode, closed.stderr.splitlines()[1:]) == (1, [b"Error: standard input: no bytes"])


def test_names_on_stdin_are_answered_while_it_is_open(tree: Path) -> None:
    command: list[str | Path] = [ENTRY_POINT, "predict", "--model", TINY, "--jsonl", "--from-file", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for name in (b"b.png\n", b"missing\n", b"a.bmp\n"):
            process.stdin.write(name)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["input"] == name.decode().strip()
        process.stdin.close()
        assert process.wait(60) == 1
        assert process.stderr.read().splitlines()[1:] == [b"Error: missing: no such file"]


def test_bad_inputs_are_lines_and_the_others_go_on(tree: Path) -> None:
    os.mkfifo(tree / "pipe.png")
    (tree / "broken.png").symlink_to("nowhere")
    (tree / "loop.png").symlink_to("loop.png")
    (tree / "empty.png").touch()
    (tree / "page.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n")
    with (tree / "huge.png").open("wb") as file:
        file.truncate((1 << 30) + 1)
    bad = {
        "pipe.png": "not a regular file",
        "/dev/zero": "not a regular file",
        "/dev/tty": "not a regular file",
        "broken.png": "a broken link",
        "loop.png": "cannot be opened",
        "empty.png": "the file is empty",
        "page.eps": "not an image in a supported format",
        "huge.png": "larger than 1 GiB",
        "x" * 5000: "cannot be opened",
    }
    done = run("b.png", *bad, "a.bmp")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [record["input"] for record in records] == ["b.png", *bad, "a.bmp"]
    for record, reason in zip(records[1:-1], bad.values(), strict=True):
        assert reason in record["error"]
    errors = done.stderr.decode().splitlines()[1:]
    assert errors == [f"Error: {record['error']}" for record in records[1:-1]]


@pytest.mark.usefixtures("tree")
def test_strict_stops_at_the_first() -> None:
    result = predict("b.png", "missing", "a.bmp", "--strict", "--json")
    assert result.exit_code == 1
    assert [record["input"] for record in json.loads(result.stdout)] == ["b.png", "missing"]
    assert result.stderr.splitlines()[1:] == ["Error: missing: no such file"]


@pytest.mark.usefixtures("tree")
def test_a_reader_that_goes_away_is_not_an_error() -> None:
    command = f"yes b.png | {ENTRY_POINT} predict --model {TINY} --from-file - 2>error | head -n 3"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    assert len(done.stdout.splitlines()) == 3
    assert Path("error").read_text().splitlines() == [f"model: {TINY}"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk here")
@pytest.mark.parametrize("form", [["--jsonl"], ["--json"], ["--csv"], []])
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.usefixtures("tree")
def test_a_full_disk_is_one_line(form: list[str], unbuffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [ENTRY_POINT, "predict", "--model", TINY, "b.png", *form],
            stdout=full,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [b"Error: cannot write to stdout: No space left on device"]


if sys.platform != "win32":

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
    def test_a_folder_that_cannot_be_listed(tree: Path) -> None:
        (tree / "a" / "deep").chmod(0)
        result = predict("-r", "a")
        (tree / "a" / "deep").chmod(0o700)
        assert result.exit_code == 1
        assert "Error: a/deep/: this folder cannot be listed (Permission denied)\n" in result.stderr
        assert len(result.stdout.splitlines()) == 3
