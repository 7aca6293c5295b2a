"""Which run is taken where none is named, and what is said of the others: never another model without a word."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from export_helpers import write_run
from run_helpers import unfinished
from tiny import TINY

from cifar_edge.cli.main import main
from cifar_edge.data import Dataset
from cifar_edge.errors import ModelError
from cifar_edge.files import released
from cifar_edge.runs.lock import held
from cifar_edge.runs.resolve import resolve_model, resolve_run

EARLY, LATER, LAST = (f"2026-03-01T{hour}:00:00+00:00" for hour in (10, 12, 14))


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("runs")


def finished(folder: Path, began: str, exported: str | None = None) -> Path:
    folder.mkdir(parents=True)
    about = {"model": "gn-cnn", "created": began, "finished": began, "epochs": 3, "test_accuracy": 0.5}
    (folder / "summary.json").write_text(json.dumps(about))
    (folder / "model.safetensors").touch()
    if exported:
        (folder / "export").mkdir()
        shutil.copy(TINY, folder / "export" / "gn-cnn.int8.onnx")
        (folder / "export" / "report.json").write_text(json.dumps({"created": exported}))
    return folder


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.mark.parametrize(("failure", "state"), [("", "was interrupted"), ("the loss is NaN", "has failed")])
def test_export_stops_where_the_newest_run_is_not_finished(runs: Path, failure: str, state: str) -> None:
    cut_off = unfinished(runs / "cut off", 3, LAST)
    if failure:
        (cut_off / "failure.txt").write_text(f"{failure}\n")
    done = command("export")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: the newest run, 'runs/cut off', {state}: resume it, cifar-edge train --resume 'runs/cut off', or "
        "name what to use instead, such as the released gn-cnn\n"
    )
    finished(runs / "early", EARLY)
    assert command("export").stderr.endswith("such as runs/early or the released gn-cnn\n")
    assert [path.name for path in runs.iterdir() if path not in (cut_off, runs / "early")] == []


def test_an_unfinished_run_from_before_the_newest_finished_one_stops_nothing(runs: Path) -> None:
    unfinished(runs / "cut-off", 3, EARLY)
    finished(runs / "b", LATER)
    assert str(resolve_run()) == "runs/b (newest finished run under runs)"


def test_a_run_that_is_still_training_is_passed_over_and_named(runs: Path, sample: Dataset) -> None:
    going = unfinished(runs / "going", 3, LAST)
    with held(going):
        with pytest.raises(ModelError, match=r"runs/going is still training, and no run is finished; wait, or"):
            resolve_run()
        write_run(runs / "done", "s8-batch", sample)
        done = command("export", "--data", "sample")
    assert done.exit_code == 0, done.stderr
    assert (
        "exporting runs/done (newest finished run under runs; runs/going is left out: it is still training) to"
        in done.stderr
    )
    assert resolve_run(runs / "done").path == runs / "done"


def test_without_any_run_it_is_the_released_one(runs: Path) -> None:
    assert str(resolve_run()) == "released gn-cnn"
    shutil.copytree(released("export/gn-cnn"), runs / "20260101-000000-gn-cnn" / "export")  # no run: nothing is trained
    assert resolve_run().reason == "released"


def test_an_unfinished_run_by_name_says_how_to_go_on(runs: Path) -> None:
    folder = unfinished(runs / "cut-off", 3, EARLY)
    for there in ("", "model.safetensors"):  # of a run that was being folded
        (folder / there).touch()
        done = command("export", folder)
        assert done.stderr == (
            "Error: runs/cut-off is not finished; resume it: cifar-edge train --resume runs/cut-off\n"
        )


def test_a_run_that_was_killed_before_its_state_was_removed_is_finished(runs: Path) -> None:
    folder = unfinished(finished(runs / "a", EARLY), 20, EARLY)
    assert "finished" in command("runs").stdout
    assert resolve_run().path == folder


@pytest.mark.parametrize("state", ["was interrupted", "is still training", "has failed", "is not exported"])
def test_predict_says_that_a_newer_run_was_not_taken(runs: Path, image_files: list[Path], state: str) -> None:
    newer = finished(runs / "newer", LAST) if state == "is not exported" else unfinished(runs / "newer", 3, LAST)
    if state == "has failed":
        (newer / "failure.txt").write_text("the loss is NaN\n")
    if state == "is still training":
        with held(newer):
            done = command("predict", image_files[0])
    else:
        done = command("predict", image_files[0])
    assert done.exit_code == 0, done.stderr
    assert done.stderr == f"model: released gn-cnn.int8 (runs/newer {state})\n"


def test_a_newer_run_is_named_beside_an_export(runs: Path) -> None:
    exported = finished(runs / "exported", EARLY, exported=LATER)
    assert resolve_model().reason == "newest export under runs"
    unfinished(runs / "newer", 3, LAST)
    assert str(resolve_model()) == (
        f"{exported / 'export' / 'gn-cnn.int8.onnx'} (newest export under runs; the newer runs/newer was interrupted)"
    )


def test_an_unknown_name_is_answered_with_the_runs_and_the_released_models(runs: Path) -> None:
    """Runs newest first, and where an export is looked for, those that have one before them; of many five."""
    released_ones = r"released: gn-cnn, .*"
    with pytest.raises(ModelError, match=rf"is called 'nix'; {released_ones}$"):
        resolve_model("nix")
    finished(runs / "old", EARLY, exported=LATER)
    finished(runs / "new", LAST)
    with pytest.raises(ModelError, match=rf"is called 'nix'; runs: old, new; {released_ones}$"):
        resolve_model("nix")
    with pytest.raises(ModelError, match=rf"is called 'nix'; runs: new, old; {released_ones}$"):
        resolve_run("nix")
    for hour in range(15, 19):
        finished(runs / f"at-{hour}", f"2026-03-01T{hour}:00:00+00:00")
    with pytest.raises(
        ModelError, match=rf"runs: at-18, at-17, at-16, at-15, new, \.\.\. \(6 in all\); {released_ones}"
    ):
        resolve_run("nix")
