"""From images of no class to answers that are not sure: export, evaluate, predict."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from export_helpers import write_run
from image_folder_helpers import of_class, write_images
from PIL import Image

from cifar_edge.cli.main import main
from cifar_edge.data import Dataset, load_dataset
from cifar_edge.data.reference import reference_to
from cifar_edge.errors import ExportError
from cifar_edge.export.threshold import calibration, choose
from cifar_edge.runs.summary import RunSummary
from cifar_edge.runtime.model import load


@pytest.fixture(scope="module")
def run(sample: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the sample's images as a folder of photographs with ten classes, and strange ones beside."""
    root = tmp_path_factory.mktemp("own")
    folders = {f"train/{label}": of_class(sample, label, 20) for label in sample.labels}
    folders |= {f"test/{label}": of_class(sample, label, 10, 20) for label in sample.labels}
    dataset = load_dataset(write_images(root / "data", {**folders, "other": range(10)}, sample))
    run = write_run(root / "run", "gn-cnn-nano", dataset)
    record = json.loads((run / "summary.json").read_text())
    record["data"] = reference_to(dataset).to_record()
    assert RunSummary.from_record(record).damage == {}
    (run / "summary.json").write_text(json.dumps(record))
    return run


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_a_threshold_goes_from_the_export_to_every_answer(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = command("export", run, "--quantize", "--max-drop", "100", "--keep", "0.5", "--out", out)
    assert result.exit_code == 0, result.stderr
    said = " ".join(result.stdout.split())
    assert re.search(
        r"int8 says 'unknown' where it is not sure, that is where its largest logit is below [-\d.e]+, a threshold "
        r"that 50% of 200 training images reach: it refuses [\d.]+% of [\d,]+ images of other things \(other\) and "
        r"[\d.]+% of the test images \(--keep SHARE sets another threshold, --keep none does without"
        r"(?:; training images, known by heart[^)]*)?\)",
        said,
    )
    assert max(map(len, result.stdout.splitlines())) <= 80
    model = out / "run.int8.onnx"
    metadata = load(model).metadata
    assert metadata.contract == 2
    reported = json.loads((out / "report.json").read_text())["rows"][-1]["threshold"]
    assert reported["threshold"] == metadata.threshold
    test = [str(path) for path in sorted((run.parent / "data" / "test").rglob("*.png"))]
    answers = json.loads(command("predict", "--model", model, "--json", *test).stdout)
    unknown = [answer["label"] == "unknown" for answer in answers]
    assert 1 - sum(unknown) / len(unknown) == pytest.approx(reported["unknown"]["own"]["kept"])
    evaluated = json.loads(command("evaluate", model, "--data", run.parent / "data", "--json").stdout)
    assert evaluated["threshold"]["refused"] == pytest.approx(sum(unknown) / len(unknown))
    share = f"unknown   {evaluated['threshold']['refused']:.1%} of them, below the model's threshold"
    assert share in command("evaluate", model, "--data", run.parent / "data").stdout
    plain = json.loads(command("predict", "--model", model, "--json", "--threshold", "none", *test).stdout)
    assert "unknown" not in {answer["label"] for answer in plain}
    shown = command("predict", "--model", model, test[unknown.index(True)]).stdout
    assert shown.startswith(f"unknown ({plain[unknown.index(True)]['label']}?)")
    lines = command("predict", "--model", model, "--top", "2", test[unknown.index(True)]).stdout.splitlines()
    assert len({line.index("%") for line in lines}) == 1


@pytest.mark.parametrize(
    ("holdout", "keep", "refused", "written"),
    [(50, None, 4, True), (50, None, 2, False), (0, None, 17, True), (0, None, 15, False), (0, 0.95, 0, True)],
)
def test_test_images_do_not_decide_whether_there_is_a_threshold(
    sample: Dataset, tmp_path: Path, holdout: int, keep: float | None, refused: int, written: bool
) -> None:
    write_images(tmp_path, {"strange": range(20)}, sample)
    images = calibration(sample, holdout, keep, tmp_path / "strange", print)
    assert images is not None
    known = np.linspace(1, 2, len(images.known))[:, None] * np.array([1.0, -1.0])
    others = np.where(np.arange(20) < refused, 0.5, 3.0)[:, None] * np.array([1.0, -1.0])
    for test in (known, others):  # test images that are known well, or as badly as the others
        chosen = choose(lambda pixels: known if len(pixels) == len(known) else others, test, images)
        assert (chosen.threshold is not None) is written
        assert chosen.sentence().startswith("says 'unknown' where" if written else "always names a class: ")
        by_heart = written and holdout == 0 and test is others and refused > 0
        assert ("train --set holdout=N lets N others choose" in chosen.sentence()) is by_heart


def test_images_of_the_dataset_are_no_others(sample: Dataset, tmp_path: Path) -> None:
    """The sample of CIFAR-10, from which others are taken, may be what the folder was made of."""
    names = np.array(sample.labels)[sample.test_labels]
    for number, (pixels, name) in enumerate(zip(sample.test_images, names, strict=True)):
        folder = tmp_path / "mine" / ("animal" if name in {"cat", "dog", "deer"} else "thing")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    dataset = load_dataset(tmp_path / "mine", holdout=0.2)
    assert calibration(dataset, 0, None, None, print) is None
    with pytest.raises(ExportError, match="give --other DIR"):
        calibration(dataset, 0, 0.95, None, print)
    for path in sorted((tmp_path / "mine" / "thing").iterdir())[:30]:
        path.unlink()
    images = calibration(load_dataset(tmp_path / "mine", holdout=0.2), 0, None, None, print)
    assert images is not None
    assert len(images.other) == 30


def test_evaluate_says_how_many_others_each_threshold_refuses(run: Path, tmp_path: Path, sample: Dataset) -> None:
    assert command("export", run, "--keep", "none", "--out", tmp_path / "out").exit_code == 0
    model, data = tmp_path / "out" / "run.fp32.onnx", ("--data", run.parent / "data")
    assert load(model).metadata.threshold is None
    write_images(tmp_path, {"strange": range(30, 37)}, sample)
    result = command("evaluate", model, *data, "--other", tmp_path / "strange")
    assert "7 images of no class: AUROC 0." in result.stdout
    assert len(re.findall(r"^-?[\d.e+-]+ +\d+\.\d% +\d+\.\d%$", result.stdout, re.MULTILINE)) == 4
    record = json.loads(command("evaluate", model, *data, "--json").stdout)["unknown"]  # other/ of the data
    assert (record["other"], record["known"], record["own"]) == (10, 100, None)
    assert record["kept_share"] == [0.99, 0.95, 0.9, 0.8]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keep", "2"], "'2' is neither a share between 0 and 1"),
        (["--keep", "some"], "'some' is neither a share"),
        (["--keep", "none", "--other", "."], "--keep none sets no threshold"),
        (["--other", "nowhere"], "there is no folder nowhere"),
    ],
)
def test_bad_arguments_are_one_line(run: Path, arguments: list[str], message: str) -> None:
    result = command("export", run, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_cifar_10_has_no_others_of_its_own(tmp_path: Path, sample: Dataset) -> None:
    run = write_run(tmp_path / "run", "gn-cnn-nano", sample)
    result = command("export", run, "--data", "sample", "--keep", "0.9")
    assert result.exit_code == 1
    assert "give --other DIR" in result.stderr


def test_evaluate_draws_the_mistakes(run: Path, tmp_path: Path) -> None:
    model = tmp_path / "out" / "run.fp32.onnx"
    assert command("export", run, "--keep", "none", "--out", model.parent).exit_code == 0
    picture = tmp_path / "mistakes.png"
    result = command("evaluate", model, "--data", run.parent / "data", "--mistakes", picture)
    assert f"wrote {picture}" in result.stderr
    with Image.open(picture) as image:
        assert min(image.size) > 300
    result = command("evaluate", model, "--data", run.parent / "data", "--mistakes", tmp_path / "a.txt")
    assert "is not the name of a .png file" in result.stderr
