"""A classifier among threads, in other processes, and from its first image to its end."""

import copy
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from tiny import TINY

from cifar_edge import Classifier, ModelError, Prediction
from cifar_edge.data import Dataset

THREADS = 8


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_share_a_classifier(sample: Dataset, image_files: list[Path], threads: int) -> None:
    """Every way to ask, all at once and many times: each has the answers that it has alone."""
    classifier = Classifier("gn-cnn", threads)
    images, names = sample.test_images[:70], [str(image) for image in image_files]
    ways: list[Callable[[], list[object]]] = [
        lambda: [classifier.predict(image) for image in images],
        lambda: [classifier.predict(name) for name in names],
        lambda: list(classifier.predict_batch(images)),
        lambda: [answer for _, answer in classifier.predict_iter(names, workers=2)],
    ]
    alone = [way() for way in ways]
    start = Barrier(THREADS)

    def work(number: int) -> list[list[object]]:
        start.wait()
        return [ways[(number + turn) % len(ways)]() for turn in range(3 * len(ways))]

    with ThreadPoolExecutor(THREADS) as pool:
        for number, answers in enumerate(pool.map(work, range(THREADS))):
            assert answers == [alone[(number + turn) % len(ways)] for turn in range(3 * len(ways))]


@pytest.mark.parametrize("of", [str, Path.read_bytes], ids=["path", "bytes"])
def test_a_copy_is_the_same_classifier_though_the_file_is_gone(
    of: Callable[[Path], str | bytes], sample: Dataset, tmp_path: Path
) -> None:
    path = Path(shutil.copy(TINY, tmp_path / "mine.onnx"))
    classifier = Classifier(of(path), threads=2)
    pickled = pickle.dumps(classifier)
    path.unlink()
    for other in (pickle.loads(pickled), copy.deepcopy(classifier)):
        assert (other.source, other.labels, other.metadata) == (
            classifier.source,
            classifier.labels,
            classifier.metadata,
        )
        assert other.predict_batch(sample.test_images[:5]) == classifier.predict_batch(sample.test_images[:5])
        assert len(pickle.dumps(other)) == len(pickled) < TINY.stat().st_size + 500


def test_another_process_takes_it(image_files: list[Path]) -> None:
    """Started anew ("spawn"), so that nothing is inherited: the bound method goes there, the answers come back."""
    classifier = Classifier("gn-cnn")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        answers = list(pool.map(classifier.predict, map(str, image_files)))
    assert answers == [classifier.predict(image) for image in image_files]


def test_what_was_pickled_is_checked_as_a_file_is() -> None:
    with pytest.raises(ModelError, match=r"mine\.onnx is damaged or not an ONNX model"):
        Classifier.__new__(Classifier).__setstate__((b"no model", 1, "mine.onnx", "mine.onnx", "onnxruntime"))


def test_the_end(sample: Dataset) -> None:
    image = sample.test_images[0]
    with Classifier(TINY) as classifier:
        before = classifier.predict(image)
        answers = classifier.predict_iter([image, image])
    assert isinstance(before, Prediction)
    asked: list[Callable[[], object]] = [
        lambda: classifier.predict(image),
        lambda: classifier.predict_batch([image]),
        lambda: list(answers),
        lambda: pickle.dumps(classifier),
        classifier.warmup,
    ]
    for ask in asked:
        with pytest.raises(ValueError, match="the classifier is closed"):
            ask()
    classifier.close()
    assert classifier.labels == before.labels


def test_the_end_waits_for_nobody_and_breaks_nothing(sample: Dataset) -> None:
    """Closed while threads are at it: what they have begun is right, and then they are told."""
    classifier = Classifier("gn-cnn")
    expected = [classifier.predict(image) for image in sample.test_images[:20]]
    start = Barrier(THREADS + 1)

    def work(number: int) -> int:
        start.wait()
        for turn in range(10**9):
            try:
                assert classifier.predict(sample.test_images[turn % 20]) == expected[turn % 20]
            except ValueError:
                return turn
        return -1

    with ThreadPoolExecutor(THREADS) as pool:
        turns = [pool.submit(work, number) for number in range(THREADS)]
        start.wait()
        classifier.close()
        assert all(turn.result() >= 0 for turn in turns)


def test_warmup_loads_what_the_first_image_needs(image_files: list[Path], tmp_path: Path) -> None:
    """In a fresh process: after it, the first image imports nothing more; and it changes no answer."""
    program = """
import sys
from cifar_edge import Classifier
classifier = Classifier(sys.argv[1])
if sys.argv[3] == "warm":
    classifier.warmup()
before = set(sys.modules)
label = classifier.predict(sys.argv[2]).label
print(label, len(set(sys.modules) - before) > 0)
"""
    said = [
        subprocess.run(
            [sys.executable, "-c", program, "gn-cnn", image_files[0], how],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for how in ("warm", "cold")
    ]
    (label, imported), (cold_label, cold_imported) = said
    assert label == cold_label
    assert (imported, cold_imported) == ("False", "True")


def test_it_says_which_it_is() -> None:
    assert repr(Classifier(TINY)) == f"<Classifier {TINY}>"


def test_onnxruntime_sends_no_reports_and_keeps_none(tmp_path: Path) -> None:
    """What it cannot send at once it keeps in the cache folder. Where tests seem to run it is silent by itself."""
    quiet = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "TF_BUILD", "GITHUB_ACTIONS")
    environment = {name: value for name, value in os.environ.items() if name not in quiet}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    code = "from cifar_edge import Classifier; Classifier('gn-cnn')"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
