"""What bash, zsh and fish complete, by the lines of docs/environment.md. A shell that is not installed is skipped."""

import os
import re
import select
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from conftest import CHECKOUT, ENTRY_POINT

from cifar_edge.cli.completion import NETWORKS, TARGETS
from cifar_edge.export.targets import ALWAYS
from cifar_edge.export.targets import TARGETS as ALL_TARGETS
from cifar_edge.models import MODELS

TYPED = [
    ("pre", {"predict"}),
    ("predict --thr", {"--threshold"}),
    ("train --model s8-", {"s8-layer", "s8-group", "s8-batch", "s8-none"}),
    ("train --set ema", {"ema_decay="}),
    ("train --init rel", {"released"}),
    ("export --target onnx-f", {"onnx-float-head"}),
    ("export my-r", {"my-run"}),
    ("predict --model gn-cnn.", {"gn-cnn.fp32", "gn-cnn.int8"}),
    ("summary wrn", {"wrn-16-4"}),
]


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("runs/my-run")
    run.mkdir(parents=True)
    (run / "summary.json").write_text(
        '{"model": "gn-cnn", "created": "2026-03-01T10:00:00Z", "epochs": 1, "test_accuracy": 0.5}'
    )


def variables() -> dict[str, str]:
    here = {"PATH": f"{ENTRY_POINT.parent}:/usr/bin:/bin", "HOME": str(Path.cwd()), "TERM": "dumb"}
    return here | {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}


def documented(pattern: str) -> str:
    (line,) = re.findall(pattern, (CHECKOUT / "docs" / "environment.md").read_text())
    return str(line)


def needs(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    return found


def test_the_names_are_those_of_the_registries() -> None:
    assert tuple(MODELS) == NETWORKS
    assert {*TARGETS, ALWAYS} == set(ALL_TARGETS)


@pytest.mark.parametrize(("typed", "completed"), TYPED)
def test_bash(typed: str, completed: set[str]) -> None:
    line = documented(r"echo '(eval .*bash_source.*)' >>")
    words = shlex.split(f"cifar-edge {typed}")
    program = f"""
compopt() {{ :; }}
{line}
COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}
_cifar_edge_completion cifar-edge
echo "${{COMPREPLY[@]}}"
"""
    done = subprocess.run([needs("bash"), "-c", program], env=variables(), capture_output=True, text=True, check=False)
    assert (done.returncode, set(done.stdout.split()), done.stderr) == (0, completed, "")


@pytest.mark.parametrize(("typed", "completed"), TYPED)
def test_fish(typed: str, completed: set[str]) -> None:
    source = documented(r"\$ (_CIFAR_EDGE_COMPLETE=fish_source cifar-edge) >")
    program = f"{source} | source; complete -C {shlex.quote(f'cifar-edge {typed}')}"
    done = subprocess.run([needs("fish"), "-c", program], env=variables(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {line.partition("\t")[0] for line in done.stdout.splitlines()} == completed


def read_until(terminal: int, wanted: str, seconds: float = 60) -> str:
    """What a terminal printed until it printed ``wanted``."""
    said, end = "", time.monotonic() + seconds
    while wanted not in said:
        assert time.monotonic() < end, said
        if select.select([terminal], [], [], 0.2)[0]:
            said += os.read(terminal, 65536).decode(errors="replace")
    return said


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("predict --thr", "predict --threshold "), ("train --model gn-cnn-n", "--model gn-cnn-nano "), TYPED[8]],
)
def test_zsh(typed: str, completed: str | set[str]) -> None:
    """In a terminal of its own, where Tab is pressed: zsh completes nowhere else."""
    import pty

    shell = needs("zsh")
    line = documented(r"echo '(eval .*zsh_source.*)' >>")
    (expected,) = [completed] if isinstance(completed, str) else completed
    child, terminal = pty.fork()
    if child == 0:
        os.execve(shell, ["zsh", "-f", "-i"], variables() | {"PS1": "> "})
    try:
        read_until(terminal, "> ")
        os.write(terminal, f"autoload -Uz compinit && compinit -u; {line}; echo rea''dy\n".encode())
        read_until(terminal, "ready\r\n")
        os.write(terminal, f"cifar-edge {typed}\t".encode())
        assert expected in read_until(terminal, expected)
    finally:
        os.kill(child, 9)
        os.close(terminal)
        os.waitpid(child, 0)
