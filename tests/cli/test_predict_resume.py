"""`cifar-edge predict`: records as JSON Lines and CSV, and files of them that go on after any end."""

import base64
import csv
import io
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import ENTRY_POINT
from make_tiny_model import changed_metadata, tiny_model
from PIL import Image
from tiny import TINY

from cifar_edge import Classifier
from cifar_edge.cli.main import main
from cifar_edge.cli.prediction_records import columns, csv_line
from cifar_edge.data import Dataset

ZWNJ, ZWJ, OVERRIDE = "\u200c", "\u200d", "\u202e"
PERSIAN, FAMILY = f"نیم{ZWNJ}فاصله.png", f"👩{ZWJ}👩{ZWJ}👧.png"
NAMES = ["0.png", "1.png", "text.png", os.fsdecode(b"\xff.png"), 'line\r\nbreak, "quoted".png', "猫.png", "2.png"]


@pytest.fixture(autouse=True)
def folder(sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with images of many names and one that is none."""
    for number, name in enumerate(NAMES):
        Image.fromarray(sample.test_images[number]).save(tmp_path / name, "PNG")
    (tmp_path / "text.png").write_text("This is not an image.")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predict(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["predict", "--model", str(TINY), *arguments])


def records_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_json_lines_are_the_records_of_the_array() -> None:
    lines = predict(*NAMES, "--jsonl", "--top", "3").stdout.splitlines()
    assert [json.loads(line) for line in lines] == json.loads(predict(*NAMES, "--json", "--top", "3").stdout)
    assert all(line.isascii() for line in lines)


def test_csv_holds_the_same() -> None:
    array = json.loads(predict(*NAMES, "--json", "--top", "2").stdout)
    stdout = predict(*NAMES, "--csv", "--top", "2").stdout_bytes.decode()
    for said, row in zip(array, records_of(stdout), strict=True):
        assert row["version"] == "1"
        if row["input"] == said["input"]:
            assert row["input_base64"] == said.get("input_base64", "")
        else:  # such as a line break, which is escaped
            assert base64.b64decode(row["input_base64"]).decode() == said["input"]
        assert row["error"] == said.get("error", "")
        assert row["model"] == said.get("model", "")
        for suffix, candidate in zip(("", "_2"), said.get("top", []), strict=False):
            assert row["label" + suffix] == candidate["label"]
            assert int(row["index" + suffix]) == candidate["index"]
            assert float(row["score" + suffix]) == candidate["score"]


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=cmd|' .png", "'=cmd|' .png"),
        ("+1.png", "'+1.png"),
        ("-1.png", "'-1.png"),
        ("@SUM(A1).png", "'@SUM(A1).png"),
        ("\t=1.png", "'\\t=1.png'"),
        ("\r=1.png", "'\\r=1.png'"),
        ("\uff1d1.png", "'\uff1d1.png"),
        ("\x1b[2J.png", "'\\x1b[2J.png'"),
        (f"gnp{OVERRIDE}.png", "'gnp\\u202e.png'"),
        ("'=1.png", "'=1.png"),
        ("a=1.png", "a=1.png"),
        (PERSIAN, PERSIAN),
        (FAMILY, FAMILY),
    ],
)
def test_cells_of_csv_do_nothing_and_the_name_is_there_whole(name: str, cell: str) -> None:
    Path(name).write_bytes(Path("0.png").read_bytes())
    for _ in range(2):
        result = predict("--resume", "out.csv", "--", name)
        assert result.exit_code == 0
    assert "0 inputs added to 1 from before" in result.stderr
    (row,) = records_of(Path("out.csv").read_bytes().decode())
    assert row["input"] == cell
    assert (row["input_base64"] or base64.b64encode(name.encode()).decode()) == base64.b64encode(name.encode()).decode()
    assert bool(row["input_base64"]) == (cell != name)


def test_a_file_of_an_earlier_version_is_gone_on_with() -> None:
    """In it names stand as they are."""
    names = ["=1.png", "'=1.png", "line\nbreak.png", "-1.png"]
    for name in names:
        Path(name).write_bytes(Path("0.png").read_bytes())
    lines = [csv_line(["1", name, "m", "cat", "3", "0.5", "", ""]) for name in names]
    Path("out.csv").write_bytes(b"".join([csv_line(columns(1)), *lines]))
    result = predict("--resume", "out.csv", "--", *names)
    assert result.exit_code == 0
    assert "0 inputs added to 4 from before" in result.stderr


def test_labels_in_csv_do_nothing(tmp_path: Path) -> None:
    labels = ["=cmd|' /C calc'!A0", "\x1b]0;title\x07", *(f"class {number}" for number in range(8))]
    (tmp_path / "hostile.onnx").write_bytes(tiny_model(metadata=changed_metadata(labels=labels)))
    result = CliRunner().invoke(main, ["predict", "--model", "hostile.onnx", "0.png", "--csv", "--top", "10"])
    assert result.exit_code == 0
    (row,) = records_of(result.stdout)
    found = {int(row[f"index{suffix}"]): row[f"label{suffix}"] for suffix in ("", *(f"_{n}" for n in range(2, 11)))}
    assert found[0] == "'=cmd|' /C calc'!A0"
    assert found[1] == "'\\x1b]0;title\\x07'"
    assert found[2] == "class 0"
    assert not set(result.stdout) & {"\x1b", "\x07", "\x9b"}


def test_below_the_threshold_the_answer_is_unknown() -> None:
    scores = {name: Classifier(TINY).predict(name).score for name in ("0.png", "1.png", "2.png")}
    low, middle, high = sorted(scores, key=lambda name: scores[name])
    result = predict(low, middle, high, "--threshold", str(scores[middle]))
    assert result.exit_code == 0
    assert [line.split()[0] == "unknown" for line in result.stdout.splitlines()] == [True, False, False]
    (said,) = json.loads(predict(low, "--threshold", "1", "--json").stdout)
    assert (said["label"], said["index"], said["score"]) == ("unknown", None, scores[low])
    assert said["top"][0]["score"] == scores[low]
    (row,) = records_of(predict(low, "--threshold", "1", "--csv").stdout)
    assert (row["label"], row["index"]) == ("unknown", "")
    shown = predict(low, "--threshold", "1", "--top", "2").stdout.splitlines()
    assert [line.split()[0] for line in shown] == ["unknown", *(each["label"] for each in _top(low))]


def _top(name: str) -> list[dict[str, str]]:
    said = json.loads(predict(name, "--top", "2", "--json").stdout)[0]
    return list(said["top"])


@pytest.mark.parametrize("out", ["out.jsonl", "out.csv"])
def test_every_cut_of_the_file_is_gone_on_from(out: str, folder: Path) -> None:
    inputs = [*NAMES, "0.png", "missing.png", "0.png", ""]
    assert predict(*inputs, "--resume", out).exit_code == 1
    whole = Path(out).read_bytes()
    assert whole.endswith(b"\n")
    for end in range(0, len(whole), 7):
        Path(out).write_bytes(whole[:end])
        result = predict(*inputs, "--resume", out)
        assert (result.exit_code, result.stdout) == (1, "")
        assert Path(out).read_bytes() == whole
    done = predict(*inputs, "--resume", out)
    assert done.exit_code == 1  # there are failures in it
    assert done.stderr.splitlines()[1:] == [
        f"{out}: 0 inputs added to {len(inputs)} from before",
        f"{out}: 3 of these are errors; delete their lines to try them again",
    ]
    assert Path(out).read_bytes() == whole
    assert predict("new.png", *inputs, "--resume", out).exit_code == 1
    assert Path(out).read_bytes().startswith(whole)
    assert b"new.png" in Path(out).read_bytes()[len(whole) :]


def test_answers_of_another_model_are_told() -> None:
    for out in ("out.jsonl", "out.csv"):
        assert predict("0.png", "missing.png", "--resume", out).exit_code == 1
        arguments = ["predict", "--model", "gn-cnn", "0.png", "missing.png", "1.png", "--resume", out]
        result = CliRunner().invoke(main, arguments)
        assert result.stderr.splitlines()[-3:] == [
            f"{out}: 1 input added to 2 from before",
            f"{out}: 1 of these are errors; delete their lines to try them again",
            f"{out}: 1 of these are from another model; see their field 'model'",
        ]
    assert [row["model"] for row in records_of(Path("out.csv").read_text())] == [
        Classifier(TINY).metadata.identity,
        "",
        Classifier("gn-cnn").metadata.identity,
    ]


def test_a_file_that_an_editor_on_windows_saved_is_gone_on_with() -> None:
    """As somebody does who deletes the lines of errors."""
    for out in ("out.jsonl", "out.csv"):
        assert predict("0.png", "missing.png", "1.png", "--resume", out).exit_code == 1
        kept = [line for line in Path(out).read_bytes().splitlines() if b"missing" not in line]
        Path(out).write_bytes(b"\r\n".join([*kept, b""]))
        assert predict("0.png", "1.png", "2.png", "--resume", out).exit_code == 0
        assert len(Path(out).read_bytes().splitlines()) == len(kept) + 1


def test_a_file_without_failures_ends_well() -> None:
    for _ in range(2):
        assert predict("0.png", "1.png", "--resume", "deep/out.jsonl").exit_code == 0
    assert len(Path("deep/out.jsonl").read_text().splitlines()) == 2


def test_a_record_of_any_length_is_read_again() -> None:
    Path("list").write_bytes(b"\xff" * 30_000)  # six characters each where it is escaped
    for _ in range(2):
        result = predict("--from-file", "list", "--resume", "out.csv")
        assert (result.exit_code, result.stderr.count("none that predict writes")) == (1, 0)
    assert Path("out.csv").stat().st_size > 131_072
    assert "0 inputs added to 1 from before" in result.stderr


@pytest.mark.parametrize(
    ("out", "content", "message"),
    [
        ("notes.txt", b"Buy milk.\n", "record 1 of notes.txt is not one that predict writes as JSON Lines"),
        ("notes.txt", b"Buy milk.", "notes.txt contains something other than records of predict"),
        ("array.jsonl", b"[1]\n", "record 1 of array.jsonl is not one"),
        ("null.jsonl", b'{"version":1,"input":"a","label":"b"}\n\x00\x00\n', "record 2 of null.jsonl is not one"),
        ("bytes.jsonl", b'{"input_base64":5}\n', "record 1 of bytes.jsonl is not one"),
        ("other.csv", csv_line(columns(1)) + b"1,a\rb\n", "record 2 of other.csv is not one"),
        ("other.csv", b"name,age\n", "record 1 of other.csv is not one that predict writes as CSV with the columns"),
        ("other.csv", b"name", "other.csv contains something other than records of predict"),
    ],
)
def test_somebody_elses_file_is_left_alone(out: str, content: bytes, message: str) -> None:
    Path(out).write_bytes(content)
    result = predict("0.png", "--resume", out)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr.splitlines()[1]
    assert Path(out).read_bytes() == content


def test_what_cannot_be_gone_on_with() -> None:
    assert "not a regular file" in predict("0.png", "--resume", "/dev/null").stderr
    assert "cannot write" in predict("0.png", "--resume", "0.png/out.jsonl").stderr
    assert predict("0.png", "--resume", ".").exit_code == 2
    assert predict("0.png", "--resume", "two.csv", "--top", "2").exit_code == 0
    assert "columns" in predict("0.png", "--resume", "two.csv").stderr  # of one class


def test_a_csv_of_an_earlier_version_keeps_its_columns() -> None:
    Path("out.csv").write_text("version,input,model,label,score,error\n1,0.png,old,cat,0.5,\n")
    result = predict("0.png", "1.png", "--resume", "out.csv")
    assert result.exit_code == 0, result.stderr
    header, first, second = csv.reader(Path("out.csv").read_text().splitlines())
    assert header == ["version", "input", "model", "label", "score", "error"]
    assert (first[1], first[2], second[1], len(second)) == ("0.png", "old", "1.png", 6)
    assert "1 of these are from another model" in result.stderr


def test_a_killed_command_loses_nothing(folder: Path) -> None:
    count = 3000
    (folder / "list").write_text("\n".join(f"./{'/.' * (number % 9)}/{number % 3}.png" for number in range(count)))
    command: list[str | Path] = [
        ENTRY_POINT,
        "predict",
        "--model",
        TINY,
        "--from-file",
        "list",
        "--resume",
        "out.jsonl",
    ]
    out = folder / "out.jsonl"
    kills = 0
    while kills < 4:
        size = out.stat().st_size if out.exists() else 0
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and (not out.exists() or out.stat().st_size < size + 30_000):
                time.sleep(0.001)
            process.kill()
        if process.returncode != -signal.SIGKILL:
            break
        kills += 1
    assert kills > 0
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run([*command[:-1], "whole.jsonl"], check=True, capture_output=True)
    assert out.read_bytes() == (folder / "whole.jsonl").read_bytes()
    answered = [json.loads(line)["input"] for line in out.read_text().splitlines()]
    assert answered == (folder / "list").read_text().splitlines()


def test_one_command_at_a_time_writes_a_file() -> None:
    command: list[str | Path] = [ENTRY_POINT, "predict", "--model", TINY, "--from-file", "-", "--resume", "out.jsonl"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"0.png\n")
        process.stdin.flush()
        while not Path("out.jsonl").exists() or not Path("out.jsonl").stat().st_size:
            assert process.poll() is None
            time.sleep(0.01)
        result = predict("1.png", "--resume", "out.jsonl")
        assert (result.exit_code, result.stderr.splitlines()[1:]) == (
            1,
            ["Error: another process is writing to out.jsonl"],
        )
        process.stdin.close()
        assert process.wait(60) == 0
    assert len(Path("out.jsonl").read_text().splitlines()) == 1
