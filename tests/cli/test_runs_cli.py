"""`cifar-edge runs`: every state a run can be in, and garbage beside it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import pytest
from click.testing import CliRunner, Result
from run_helpers import unfinished

from cifar_edge.cli.main import main
from cifar_edge.runs.lock import held, is_held


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("runs")


def finished(folder: Path, began: str, **summary: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"model": "s8-group", "created": began, "epochs": 3, **summary}))
    return folder


def called(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["runs", *arguments])
    assert result.exit_code == 0, result.stderr
    return result


def test_each_state_is_told(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ago = [(datetime.now(UTC) - timedelta(minutes=minutes)).isoformat() for minutes in (1, 125, 125 * 24, 10)]
    unfinished(runs / "cut-off", 0, ago[0])
    finished(runs / "done", ago[1], test_accuracy=0.7, folded_test_accuracy=0.8123, fold_epochs=2)
    (unfinished(runs / "a-name-that-is-longer-than-its-column", 20, ago[2]) / "failure.txt").write_text("why\n")
    with held(unfinished(runs / "going", 7, ago[3])):
        result = called()
        records = json.loads(called("--json").stdout)
    lines = result.stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["run", "model", "state", "epoch", "accuracy", "age"],
        ["cut-off", "gn-cnn", "interrupted", "0/20", "-", "1m"],
        ["going", "gn-cnn", "running", "7/20", "40.00%", "10m"],
        ["done", "s8-group", "finished", "5/5", "81.23%", "2h"],
        ["a-name-that-is-longer-than-its…", "gn-cnn", "failed", "20/20", "40.00%", "2d"],
    ]
    assert {len(line) for line in lines} == {80}
    monkeypatch.setenv("COLUMNS", "50")
    narrow = called().stdout
    assert max(map(len, narrow.splitlines())) <= 50
    assert {"interrupted", "7/20", "81.23%", "2d"} < set(narrow.split())
    assert [record["state"] for record in records] == ["interrupted", "running", "finished", "failed"]
    assert records[3] == {
        "path": "runs/a-name-that-is-longer-than-its-column",
        "name": "a-name-that-is-longer-than-its-column",
        "model": "gn-cnn",
        "state": "failed",
        "epoch": 20,
        "epochs": 20,
        "accuracy": 0.4,
        "created": ago[2],
        "failure": "why",
    }


def test_a_run_that_may_only_be_read_is_seen_to_be_held(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's, or on a disk that is mounted read-only."""
    opened = Path.open

    def read_only(path: Path, mode: str = "r") -> IO[Any]:
        if mode != "rb":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, mode)

    with held(runs / "hers"), monkeypatch.context() as patch:
        patch.setattr(Path, "open", read_only)
        assert is_held(runs / "hers")
    assert not is_held(runs / "hers")


def test_garbage_is_passed_over(runs: Path) -> None:
    assert called().stderr == "no runs under runs; cifar-edge train makes one\n"
    assert called("--json").stdout == "[]\n"
    good = finished(runs / "good", "2026-03-01T10:00:00", test_accuracy=0.5)
    state = (unfinished(runs / "cut", 1, "2026-03-01T10:00:00") / "state.safetensors").read_bytes()
    broken: list[Any] = [b"", b"\xff" * 30, b"\x02" + bytes(7) + b"{}", state[:100], state.replace(b"2026-", b"long-")]
    broken.append(state.replace(b"records", b"rec" + b"ord_"))
    (runs / "cut" / "state.safetensors").unlink()
    for number, content in enumerate(broken):
        (runs / f"broken{number}").mkdir()
        (runs / f"broken{number}" / "state.safetensors").write_bytes(content)
    finished(runs / "no-epochs", "2026-03-01T10:00:00", epochs=None)
    finished(runs / "endless", "2026-03-01T10:00:00", epochs=float("inf"), test_accuracy=0.5)
    finished(runs / "no-date", "yesterday", test_accuracy=0.5)
    (runs / "file").write_text("x")
    found = called("--json")
    assert [record["path"] for record in json.loads(found.stdout)] == [str(good)]
    assert found.stderr.count("is not listed: its summary or state is damaged\n") == len(broken) + 3
