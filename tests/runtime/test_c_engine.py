"""Engine c: an int8 file compiled on this machine gives the answers of onnxruntime, bit for bit."""

import json
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import CHECKOUT

from cifar_edge import CannotRun, Classifier, ModelError, c
from cifar_edge.c import COptions, gate
from cifar_edge.c.kernels import KERNELS
from cifar_edge.c.library import library
from cifar_edge.cli.main import main
from cifar_edge.data import Dataset
from cifar_edge.files import released
from cifar_edge.integer.from_onnx import network_of
from cifar_edge.model_file.reading import checked_graph
from cifar_edge.runtime.model import load, run

INT8 = released("export/gn-cnn/gn-cnn.int8.onnx")
needs_compiler = pytest.mark.skipif(gate.compiler() is None, reason="needs a C compiler")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder for the tests of this module."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cifar_edge.c.library.user_cache_path", lambda *names, **options: folder)
        yield folder


@needs_compiler
def test_logits_are_those_of_onnxruntime(sample: Dataset, cache: Path) -> None:
    images = sample.test_images
    expected = run(load(INT8).session, images)
    for threads in (1, 3):
        assert np.array_equal(run(load(INT8, threads, engine="c").session, images), expected)
    assert len(list((cache / "c").iterdir())) == 1


@needs_compiler
@pytest.mark.parametrize("kernels", ["generic", "generic,avx2", "auto"])
def test_kernels_are_chosen_when_it_runs(kernels: str, sample: Dataset) -> None:
    content = INT8.read_bytes()
    file, metadata = checked_graph(content, "x")
    network = network_of(file)
    found = library(content, network, metadata, COptions(kernels))
    runs = gate.variants(c.write(network, metadata, COptions(kernels)))
    assert found.kernels == next((name for name in KERNELS if name in runs), "generic")
    assert np.array_equal(found.logits(sample.test_images), network(sample.test_images))


@needs_compiler
def test_a_classifier_answers_alike(sample: Dataset) -> None:
    in_c, expected = Classifier(INT8, engine="c"), Classifier(INT8).predict_batch(sample.test_images[:70])
    assert in_c.predict_batch(sample.test_images[:70]) == expected
    assert in_c.predict(sample.test_images[0]) == expected[0]
    assert pickle.loads(pickle.dumps(in_c)).predict(sample.test_images[3]) == expected[3]
    answers = {}
    threads = [Thread(target=lambda i=i: answers.update({i: in_c.predict(sample.test_images[i])})) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[i] for i in range(8)] == expected[:8]


@needs_compiler
def test_a_damaged_library_is_built_again(sample: Dataset, cache: Path) -> None:
    load(INT8, engine="c")
    for path in (cache / "c").iterdir():
        path.unlink()
        path.write_bytes(b"not a library")
    assert Classifier(INT8, engine="c").predict(sample.test_images[0]).label == "cat"


@needs_compiler
def test_the_commands(tmp_path: Path) -> None:
    cat = str(CHECKOUT / "docs" / "images" / "cat.png")
    both = [
        CliRunner().invoke(main, ["predict", cat, "--json", "--model", str(INT8), *more]).stdout
        for more in ([], ["--engine", "c"])
    ]
    assert both[0] == both[1]
    found = [
        json.loads(CliRunner().invoke(main, ["evaluate", str(INT8), "--data", "sample", "--json", *more]).stdout)
        for more in ([], ["--engine", "c"])
    ]
    assert found[0] == found[1]
    line = ["benchmark", str(INT8), "--engine", "onnxruntime", "--engine", "c", "--batch", "4", "--json"]
    measured = json.loads(CliRunner().invoke(main, line).stdout)["models"]
    assert [(each["name"], each["engine"]) for each in measured] == [
        ("gn-cnn.int8 (onnxruntime)", "onnxruntime"),
        ("gn-cnn.int8 (c)", "c"),
    ]


@needs_compiler
def test_images_of_another_shape_never_reach_the_c(sample: Dataset) -> None:
    session = load(INT8, engine="c").session
    floats: Any = sample.test_images[:1].astype(np.float32)
    for images in (sample.test_images[:1, :31], floats, sample.test_images[0]):
        with pytest.raises(ValueError, match=r"images are uint8 \[n, 32, 32, 3\]"):
            run(session, images)


def test_a_model_without_int8_is_no_empty_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gn-cnn.fp32.onnx").write_bytes(released("export/gn-cnn/gn-cnn.fp32.onnx").read_bytes())
    monkeypatch.setenv("CIFAR_EDGE_MODEL", str(tmp_path))
    result = CliRunner().invoke(main, ["benchmark", "--engine", "c"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "engine c runs int8 .onnx files" in result.stderr


def test_what_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"gn-cnn.fp32.*: engine c runs int8 files, and this one is fp32"):
        Classifier("gn-cnn.fp32", engine="c")
    with pytest.raises(ValueError, match="no engine 'cpp'; there are onnxruntime and c"):
        Classifier(INT8, engine="cpp")
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(CannotRun, match="the C compiler no-such-compiler fails"):
        Classifier(INT8, engine="c")
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setitem(sys.modules, "ziglang", None)
    result = CliRunner().invoke(main, ["predict", "x.png", "--engine", "c", "--model", str(INT8)])
    assert result.exit_code == 1
    assert "install gcc or clang, or pip install 'cifar-edge[c]'" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
