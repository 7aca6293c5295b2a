"""The folder of an export is replaced as a whole, even where its process is killed, and by one process at a time."""

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cifar_edge.errors import CifarEdgeError, ExportError, TrainingError
from cifar_edge.export.folder import replacing_export
from cifar_edge.runs.lock import held
from cifar_edge.runs.run import WEIGHTS

OLD = {"gn-cnn.fp32.onnx": b"old", "gn-cnn.int8.onnx": b"old", "report.md": b"old"}
NEW = {"gn-cnn.fp32.onnx": b"new", "report.md": b"new"}
OLD["report.json"] = json.dumps({"model": "gn-cnn", "created": "2026-01-01"}).encode()
NEW["report.json"] = json.dumps({"model": "gn-cnn", "created": "2026-02-02"}).encode()
OTHERS = {"README.md": b"a user's own", "notes/today.txt": b"too"}

KILLED = """
import os, signal, sys
from pathlib import Path
from cifar_edge.export import folder
from test_export_folder import NEW, OLD, OTHERS, content_of, swept, written

CHANGES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "ctypes.dlsym"}
if sys.argv[1] == "no exchange":
    folder.exchange = lambda one, other: False
step = 0
while True:
    step += 1
    out = Path(str(step), "export")
    written(out, OLD | OTHERS)
    child = os.fork()
    if not child:
        with folder.replacing_export(out) as replace:
            left = step
            def killed(event, _):
                global left
                left -= event in CHANGES
                if not left and event in CHANGES:
                    os.kill(os.getpid(), signal.SIGKILL)
            sys.addaudithook(killed)
            replace(NEW)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    before = content_of(out)
    swept(out)
    ours = {name: content for name, content in content_of(out).items() if name not in OTHERS}
    assert ours in (OLD, NEW), (step, ours)
    assert before.items() >= ours.items() or sys.argv[1] == "no exchange" and not before, (step, before)
    assert content_of(out).items() >= OTHERS.items(), (step, content_of(out))
    assert sorted(path.name for path in out.parent.iterdir()) == ["export"], step
    print("killed" if os.WIFSIGNALED(status) else "done", "new" if ours == NEW else "old")
    if not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
"""


def written(folder: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def swept(out: Path) -> None:
    """What the next export does before it has anything to write."""
    with replacing_export(out):
        pass


@pytest.mark.parametrize("exchange", ["exchange", "no exchange"])
def test_an_export_that_is_killed_at_any_step_is_the_old_one_or_the_new_one(tmp_path: Path, exchange: str) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", KILLED, exchange],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "done new"
    assert set(lines[:-1]) == {"killed old", "killed new"}
    assert len(lines) > 20


def test_files_of_others_stay_and_the_earlier_export_goes(tmp_path: Path) -> None:
    out = tmp_path / "export"
    written(out, OLD | OTHERS)
    out.chmod(0o700)
    with replacing_export(out) as replace:
        replace(NEW)
    assert content_of(out) == NEW | OTHERS
    assert out.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_what_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), replacing_export(tmp_path / "run" / "export"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_an_error_elsewhere_is_not_told_as_one_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="elsewhere") as caught, replacing_export(tmp_path / "export"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "elsewhere")
    assert type(caught.value) is OSError
    assert list(tmp_path.iterdir()) == []


def test_files_beside_a_report_that_names_no_network_stay(tmp_path: Path) -> None:
    out = tmp_path / "export"
    written(out, {"report.json": b"{}", "None.int8.onnx": b"a user's own"})
    with replacing_export(out) as replace:
        replace(NEW)
    assert content_of(out) == NEW | {"None.int8.onnx": b"a user's own"}


def test_a_disk_that_is_full_leaves_nothing_behind_and_no_path_that_the_user_does_not_know(tmp_path: Path) -> None:
    out = tmp_path / "run" / "export"
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        with pytest.raises(CifarEdgeError) as caught, replacing_export(out) as replace:
            replace(NEW | {"gn-cnn.int8.onnx": bytes(20_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value) == f"cannot write {out}/gn-cnn.int8.onnx: File too large"
    assert list(tmp_path.iterdir()) == []


def test_one_process_exports_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "anywhere"
    with replacing_export(out) as replace:
        with pytest.raises(ExportError, match="anywhere is being written by another export"), replacing_export(out):
            pass
        replace(NEW)
    assert content_of(out) == NEW


def test_a_run_in_other_hands_is_not_exported_into(tmp_path: Path) -> None:
    run = tmp_path / "run"
    written(run, {WEIGHTS: b"weights"})
    with (
        held(run),
        pytest.raises(TrainingError, match=r"run is locked by another process, which trains"),
    ):
        swept(run / "export")
    with replacing_export(run / "export"), pytest.raises(TrainingError, match="locked by another"), held(run):
        pass
    assert [path.name for path in run.iterdir()] == [WEIGHTS]


def test_the_current_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for out in (Path(), tmp_path, tmp_path.parent):
        with pytest.raises(ExportError, match=r"is the current folder, or holds it, .* give a folder in it"):
            swept(out)
    with pytest.raises(ExportError, match=r"/proc is the root of a file system, .* give a folder in it"):
        swept(Path("/proc"))


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    written(tmp_path / "there", OLD)
    (tmp_path / "here").symlink_to("there")
    with replacing_export(tmp_path / "here") as replace:
        replace(NEW)
    assert (tmp_path / "here").is_symlink()
    assert content_of(tmp_path / "there") == NEW
