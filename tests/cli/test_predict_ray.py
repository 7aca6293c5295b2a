"""`cifar-edge predict --engine ray`: the same answers, as Parquet, from a Ray on this machine."""

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import RunCommand
from tiny import TINY

from cifar_edge.cli.main import main

pytest.importorskip("ray")
from pyarrow import parquet  # type: ignore[import-untyped, unused-ignore]


def test_ray_answers_as_threads_do(cifar_edge: RunCommand, image_files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for path in image_files:
        shutil.copy(path, tmp_path / "photos")
    shutil.copy(image_files[0], tmp_path / "photos" / os.fsdecode(b"\xff.png"))
    (tmp_path / "photos" / "bad.png").write_text("not an image")
    inputs = ["predict", "--model", str(TINY), "photos", "missing\n.png", "photos/*.jpg", "-r", "--top", "2"]
    done = cifar_edge(*inputs, "--engine", "ray", "--parquet", "answers")
    assert (done.returncode, done.stdout) == (1, "")
    first, *others, last = done.stderr.splitlines()
    assert (first, last) == (f"model: {TINY}", f"answers: {len(image_files) + 4} inputs, 3 failed")
    assert all("core_worker" in line for line in others)  # a line of Ray's own
    rows = sorted(parquet.read_table(tmp_path / "answers").to_pylist(), key=lambda row: int(row["position"]))
    assert [row.pop("position") for row in rows] == list(range(len(rows)))
    said = [{key: value for key, value in row.items() if value is not None} for row in rows]
    expected = [json.loads(line) for line in cifar_edge(*inputs, "--jsonl").stdout.splitlines()]
    for row, record in zip(said, expected, strict=True):
        assert row.keys() == record.keys()
        for key in set(record) - {"score", "top"}:
            assert row[key] == record[key]
        assert row.get("score") == pytest.approx(record.get("score"))
    again = cifar_edge(*inputs, "--engine", "ray", "--parquet", "answers")
    assert (again.returncode, "is not an empty folder" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--engine", "ray"],
        ["--parquet", "answers"],
        ["--engine", "ray", "--parquet", "answers", "--jsonl"],
        ["--engine", "ray", "--parquet", "answers", "--resume", "out.jsonl"],
        ["--engine", "ray", "--parquet", "answers", "-"],
    ],
)
def test_what_ray_does_not_do(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, ["predict", "x.png", "--model", str(TINY), *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--engine ray" in result.stderr
