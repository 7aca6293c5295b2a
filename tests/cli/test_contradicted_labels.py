"""`data --model` on a run that was cross-validated: wrong labels among the training images."""

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from image_folder_helpers import of_class, write_images

from cifar_edge.cli.main import main
from cifar_edge.data import Dataset
from cifar_edge.runs.run import OUT_OF_FOLD

SHORT = ("--epochs", "2", "--set", "steps_per_epoch=2", "--size", "32")


def cifar_edge(*arguments: str | Path) -> Result:
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exit_code == 0, done.stderr
    return done


def listed(done: Result, side: str) -> set[str]:
    """The files whose label is contradicted."""
    lines = done.stdout.splitlines()
    return {line.split("?  ")[1] for line in lines if line.startswith(f"  {side} ") and "?  " in line}


@pytest.fixture
def pets(tmp_path: Path, sample: Dataset, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photographs of frogs and ships, the working folder beside them; two of each class lie among the others."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    folders = {f"{split}/{label}": of_class(sample, label, count, start) for label in ("frog", "ship")
               for split, count, start in (("train", 20, 0), ("test", 5, 20))}  # fmt: skip
    root = write_images(tmp_path / "my pets", folders, sample)
    for label, other in (("frog", "ship"), ("ship", "frog")):
        for index in folders[f"train/{label}"][2:4]:
            (root / "train" / label / f"{index}.png").rename(root / "train" / other / f"a {label} {index}.png")
    return root


def test_labels_of_training_images_are_judged_by_networks_that_had_not_seen_them(pets: Path) -> None:
    done = cifar_edge("train", "--data", pets, *SHORT, "--cross-validate", "3", "--name", "own")
    command = "cifar-edge data --data 'my pets' --model runs/own"
    assert f"likely wrong labels   {command}" in done.stdout.splitlines()

    shown = cifar_edge(*shlex.split(command)[1:])
    wrong = {str(path.relative_to(pets)) for path in pets.glob("train/*/a *.png")}
    found = listed(shown, "training")
    assert len(found & wrong) >= 2
    assert len(found - wrong) <= 2
    assert shown.stdout.splitlines()[-1] == ("  (training images only; for test images: cifar-edge export runs/own)")

    right = json.loads(Path("runs", "own", "summary.json").read_text())["cross_validated_accuracy"]
    assert f"  (training images by networks that had not seen them, which were right on {right:.1%} of them)" in (
        shown.stdout.splitlines()
    )

    first, second, *_ = sorted(found & wrong)
    truth = "frog" if "a frog" in first else "ship"
    (pets / first).rename(pets / "train" / truth / "named anew.png")  # as a person does who is told
    moved = Path("test") / Path(second).relative_to("train")
    (pets / second).rename(pets / moved)
    after = cifar_edge("data", "--data", pets, "--model", "own")
    assert listed(after, "training") == found - {first, second}
    assert listed(after, "test") == {str(moved)}

    cifar_edge("export", "own", "--keep", "none")
    exported = cifar_edge("data", "--data", pets, "--model", "own", "--json")
    records = json.loads(exported.stdout)["disagreements"]
    assert found - {first, second} == {each["file"] for each in records if each["side"] == "train"}

    Path("runs", "own", OUT_OF_FOLD).unlink()
    without = cifar_edge("data", "--data", pets, "--model", "own").stdout.splitlines()
    assert without[-1] == (
        "  (it agrees with what it was trained on: for training images, train --cross-validate 5 finds more)"
    )


def test_a_damaged_record_of_the_cross_validation_is_one_line(pets: Path) -> None:
    cifar_edge("train", "--data", pets, *SHORT, "--cross-validate", "2", "--name", "own")
    record = Path("runs", "own", OUT_OF_FOLD)
    record.write_text(record.read_text().replace('"frog"', '"toad"'))
    refused = CliRunner().invoke(main, ["data", "--data", str(pets), "--model", "own"])
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.splitlines()[-1] == f"Error: {record} is damaged: no class is called 'toad'"
