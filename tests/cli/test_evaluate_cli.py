"""`cifar-edge evaluate` through the real command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import CHECKOUT
from tiny import TINY, tiny_logits

from cifar_edge.cli.evaluate import text_report
from cifar_edge.cli.main import main
from cifar_edge.data import Dataset
from cifar_edge.measure.accuracy import evaluate
from cifar_edge.measure.metrics import accuracy


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["evaluate", str(TINY), "--data", "sample", *arguments])


def test_the_record_is_what_numpy_counts(sample: Dataset) -> None:
    result = run("--json")
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    predicted = tiny_logits(sample.test_images).argmax(axis=1)
    right = int((predicted == sample.test_labels).sum())
    expected = accuracy(right, len(predicted))
    assert record["accuracy"] == {
        "value": expected.value,
        "low": expected.low,
        "high": expected.high,
        "images": len(predicted),
    }
    assert (record["name"], record["precision"], record["data"]) == ("tiny", "fp32", "cifar10-sample")
    assert record["labels"] == list(sample.labels)
    for true, row in enumerate(record["confusion"]):
        counts = np.bincount(predicted[sample.test_labels == true], minlength=10)
        assert row == counts.tolist()
        assert record["recall"][true] == counts[true] / counts.sum()


def test_the_table_fits_a_terminal_and_shows_the_same(sample: Dataset) -> None:
    result = run()
    record = json.loads(run("--json").stdout)
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == f"model     {TINY}"[:80]
    assert f"{record['accuracy']['value']:.2%}" in result.stdout
    assert f"interval {record['accuracy']['low']:.2%} to {record['accuracy']['high']:.2%}" in result.stdout
    for label, row in zip(record["labels"], record["confusion"], strict=True):
        line = next(line for line in lines if line.startswith(f"{label} "))
        assert [0 if cell == "." else int(cell) for cell in line.split()[3:]] == row
        assert line.split()[1] == str(sum(row))


def test_classes_are_named_in_full_where_there_is_room() -> None:
    evaluation = evaluate(
        np.eye(2, dtype=np.float32)[[0, 0, 1, 1, 1]], np.array([0, 0, 0, 1, 1]), ("ants", "bumblebees")
    )
    wide, narrow = (text_report(evaluation, columns).splitlines()[2:5] for columns in (80, 40))
    assert wide == [
        "class       images  recall  ants bumblebees",
        "ants             3   66.7%     2          1",
        "bumblebees       2  100.0%     .          2",
    ]
    assert narrow == [
        "class       images  recall  ants bumb",
        "ants             3   66.7%     2    1",
        "bumblebees       2  100.0%     .    2",
    ]


def test_many_classes_show_their_most_frequent_confusions() -> None:
    labels = tuple(f"class number {number}" for number in range(200))
    truth = np.arange(200).repeat(5)[:-5]
    answers = truth.copy()
    answers[truth == 7] = 8
    answers[:2] = 199
    text = text_report(evaluate(np.eye(200, dtype=np.float32)[answers], truth, labels))
    assert max(map(len, text.splitlines())) <= 80
    assert text.endswith(
        "most frequent confusions\n"
        "      5  class number 7 taken for class number 8\n"
        "      2  class number 0 taken for class number 199"
    )
    assert "class number 199       0       -" in text


def test_other_classes_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from make_tiny_model import changed_metadata, tiny_model

    content = tiny_model(metadata=changed_metadata(labels=[f"class {number}" for number in range(10)]))
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    result = CliRunner().invoke(main, ["evaluate", str(path), "--data", "sample"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {path} has other classes (class 0, ")
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_model() -> None:
    result = CliRunner().invoke(main, ["evaluate", "nonsense", "--data", "sample"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "'nonsense'" in result.stderr


def test_without_a_model_it_takes_what_predict_would_and_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    evaluate, image = ["evaluate", "--data", "sample"], str(CHECKOUT / "docs" / "images" / "cat.png")
    released = CliRunner().invoke(main, evaluate)
    assert released.exit_code == 0
    assert released.stdout.splitlines()[0].endswith("released gn-cnn.int8")
    export = tmp_path / "runs" / "mine" / "export"
    export.mkdir(parents=True)
    (export / "tiny.int8.onnx").write_bytes(TINY.read_bytes())
    (export / "report.json").write_text(json.dumps({"created": "2026-03-01T11:00:00Z"}))
    for variable, why in (("", "newest export under runs"), (str(TINY), "$CIFAR_EDGE_MODEL")):
        monkeypatch.setenv("CIFAR_EDGE_MODEL", variable)
        result = CliRunner().invoke(main, [*evaluate, "--json"])
        assert result.exit_code == 0
        assert result.stderr == f"model: {json.loads(result.stdout)['model']} ({why})\n"
        assert result.stderr == CliRunner().invoke(main, ["predict", image]).stderr
