"""The exit codes that docs/commands.md lists, one by one, from the processes that a shell sees."""

import json
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest
from conftest import CHECKOUT, ENTRY_POINT, RunCommand

from cifar_edge.c.board_log import BoardLog
from cifar_edge.c.figures import IMAGES
from cifar_edge.data import Dataset
from cifar_edge.files import released
from cifar_edge.integer import IntegerNetwork
from cifar_edge.model_file.reading import read_graph

CAT = str(CHECKOUT / "docs" / "images" / "cat.png")


def test_0_is_done(cifar_edge: RunCommand) -> None:
    done = cifar_edge("predict", CAT, "--json")
    assert (done.returncode, json.loads(done.stdout)[0]["label"]) == (0, "cat")


def test_1_is_failed_and_of_predict_an_image_that_cannot_be_read(cifar_edge: RunCommand) -> None:
    done = cifar_edge("predict", "gone.png", CAT, "--jsonl")
    assert done.returncode == 1
    assert [("error" in json.loads(line)) for line in done.stdout.splitlines()] == [True, False]


def test_2_is_called_wrongly(cifar_edge: RunCommand) -> None:
    assert cifar_edge("predict", CAT, "--top", "none").returncode == 2


def test_3_is_a_gate_that_failed(cifar_edge: RunCommand, tmp_path: Path, sample: Dataset) -> None:
    file = released("export/gn-cnn-nano/gn-cnn-nano.int8.onnx")
    logits = IntegerNetwork.from_onnx(file)(sample.test_images[:IMAGES])
    log = tmp_path / "board.log"
    for off, exit_code in ((0, 0), (1, 3)):
        lines = [f"image {image}: {' '.join(map(str, row))}" for image, row in enumerate((logits + off).tolist())]
        log.write_text("\n".join([*lines, "ok" if off == 0 else "failed"]))
        assert len(BoardLog.parse(log.read_text()).logits) == IMAGES
        done = cifar_edge("verify-c", log, "--model", file)
        assert done.returncode == exit_code, done.stderr
        assert done.stdout.startswith(f"ok: the board computes {read_graph(file)[1].identity}") == (exit_code == 0)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_130_and_143_are_signals(tmp_path: Path, number: signal.Signals, exit_code: int) -> None:
    with subprocess.Popen(
        [ENTRY_POINT, "predict", "--from-file", "-", "--jsonl"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, number, signal.SIG_DFL),  # a shell starts background jobs with SIGINT ignored
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(f"{CAT}\n")
        running.stdin.flush()
        assert json.loads(running.stdout.readline())["label"] == "cat"  # it waits for the next name now
        running.send_signal(number)
        status = running.wait(60)
    assert (128 - status if status < 0 else status) == exit_code  # a shell adds the number of a signal to 128
