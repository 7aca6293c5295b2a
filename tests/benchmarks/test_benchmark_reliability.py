"""What benchmarks/reliability/ feeds to the command, and what it counts."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY

from benchmarks.pictures.reduced_jpeg import compared
from benchmarks.reliability import run as reliability_run
from benchmarks.reliability.__main__ import result
from benchmarks.reliability.corpus import Sample, damaged, originals
from benchmarks.reliability.models import __file__ as models_program
from benchmarks.reliability.run import MODELS, PICTURES, run
from cifar_edge.runtime.images import read_pixels

CRASHING = """
import json, os, sys
for name in sys.stdin:
    content = open(name.strip(), "rb").read()
    if content == b"crash":
        os.abort()
    if content == b"hang":
        while True: pass
    if content == b"noise":
        print("Traceback", file=sys.stderr)
    print(json.dumps({"error": "no"} if content == b"bad" else {}), flush=True)
"""


def test_every_mode_in_every_format_is_read() -> None:
    samples = originals()
    assert len(samples) > 800
    assert len({sample.form for sample in samples}) >= 11
    for sample in samples:
        assert read_pixels(sample.content).shape == (32, 32, 3)


def test_damage_is_the_same_for_the_same_seed() -> None:
    samples = [Sample("intact", "PNG", bytes(range(200))), Sample("intact", "", b"x")]
    first, second = list(damaged(samples, 700, 3)), list(damaged(samples, 700, 3))
    assert first == second != list(damaged(samples, 700, 4))
    counts = Counter(sample.kind for sample in first)
    assert counts.pop("bytes changed") == 200
    assert set(counts.values()) == {100}
    assert sum(sample.content != samples[0].content for sample in first) > 650


def test_damaged_pictures_and_models_are_answered_or_refused() -> None:
    pictures = originals()[::50]
    outcome = run(PICTURES, [sample.content for sample in [*pictures, *damaged(pictures, 60, 0)]])
    assert (outcome.crashed, outcome.noise) == ([], [])
    assert outcome.classified + outcome.refused == outcome.inputs == len(pictures) + 60
    assert outcome.classified >= len(pictures)
    assert outcome.refused > 10
    assert outcome.peak_bytes > 20 << 20
    model = Sample("model", "ONNX", TINY.read_bytes())
    outcome = run(MODELS, [model.content, *(sample.content for sample in damaged([model], 30, 0))])
    assert (outcome.crashed, outcome.noise) == ([], [])
    assert outcome.classified + outcome.refused == 31
    assert outcome.refused > 10
    assert Path(models_program).samefile(MODELS[0])


def test_crashes_are_counted_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reliability_run, "INPUTS", 4)
    monkeypatch.setattr(reliability_run, "CPU_SECONDS", 1)
    contents = [b"good", b"crash", b"bad", b"noise", b"crash", b"hang", b"good"]
    row = result("two words", ["-c", CRASHING], contents)
    assert (row.inputs, row.classified, row.refused, row.crashes, row.noise) == (7, 3, 1, 3, 1)
    assert sorted(path.read_bytes() for path in tmp_path.glob("crash-two-words-*.bin")) == [b"crash", b"crash", b"hang"]


def test_differences_are_in_grey_levels() -> None:
    full = np.full((100, 32, 32, 3), 100, np.uint8)
    other = full.copy()
    other[0, :16] = 90
    row = compared("some", other, full)
    assert (row.images, row.mean_difference, row.p99_difference, row.max_difference) == (100, 0.05, 0.0, 10)
    assert row.same_class_int8 >= 0.99
