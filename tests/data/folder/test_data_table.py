"""A CSV file of names and labels in place of folders of classes."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from image_folder_helpers import SPLIT, reported_by, write_images

from cifar_edge.cli.main import main
from cifar_edge.data import Dataset, load_dataset
from cifar_edge.errors import DataError


def write_table(root: Path, header: str, rows: list[str]) -> Path:
    path = root / "labels.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def rows_of(root: Path, split: bool) -> list[str]:
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    return [f"{name},{name.split('/')[1]}" + (f",{name.split('/')[0]}" if split else "") for name in files]


def test_it_is_the_same_dataset_as_the_folders(tmp_path: Path, sample: Dataset) -> None:
    root = write_images(tmp_path / "pets", SPLIT, sample)
    table = write_table(root, "file,label,split", rows_of(root, split=True))
    from_folders, from_table = load_dataset(root), load_dataset(table)
    assert (from_table.labels, from_table.name, from_table.folder) == (("cat", "dog"), "labels", table)
    for mine, theirs in zip(from_table.arrays(), from_folders.arrays(), strict=True):
        assert np.array_equal(mine, theirs)
    assert from_table.names_of(from_table.test_images) == from_folders.names_of(from_folders.test_images)


def test_without_a_split_the_holdout_splits(tmp_path: Path, sample: Dataset) -> None:
    root = write_images(tmp_path / "pets", SPLIT, sample)
    table = write_table(root, "Image,Class", rows_of(root, split=False))
    dataset, _ = reported_by(table, 0.25)
    assert (len(dataset.test_labels), len(dataset.train_labels)) == (4, 8)
    with pytest.raises(DataError, match="give --holdout 0"):
        load_dataset(table)


def test_missing_files_are_left_out_and_names_may_be_of_any_script(tmp_path: Path, sample: Dataset) -> None:
    root = write_images(tmp_path, {"x": range(8)}, sample)
    rows = [f"x/{number}.png,{'กา' if number % 2 else 'кот, рыжий'}" for number in range(8)]
    rows = [f'{row.split(",", 1)[0]},"{row.split(",", 1)[1]}"' for row in rows]
    dataset, lines = reported_by(write_table(root, "\ufefffile,label", [*rows, "", "x/gone.png,กา"]), 0.25)
    assert dataset.labels == ("кот, рыжий", "กา")
    assert any("1 of 9 images" in line and "x/gone.png: no such file" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must name its columns: file,label"),
        ("a.png,cat\n", "must name its columns"),
        ("file;label\na.png;cat\n", "separate them with commas"),
        ("file,label\n", "names no image"),
        ("file,label\na.png\n", "line 2 of .* has 1 values, too few"),
        ("file,label\n,cat\n", "line 2 of .* has no file"),
        ("file,label\na.png, \n", "line 2 of .* has no label"),
        ("file,label,split\na.png,cat,left\n", "line 2 of .* has the split 'left'"),
        ("file,label,split\na.png,cat,train\nb.png,dog,train\n", "has no test images"),
        ("file,label\na.png,cat\n", "one class, cat"),
        ("file,label\na.png,cat\nb.png,Cat\n", "differ by case only"),
        ('file,label\n"a.png,cat\n', "is not CSV"),
        ("file,label\n\udcff.png,cat\n", "is not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=message) as raised:
        load_dataset(path, holdout=None if ",split" in text else 0.5)
    assert "\n" not in str(raised.value)


def test_data_shows_it(tmp_path: Path, sample: Dataset) -> None:
    root = write_images(tmp_path / "pets", SPLIT, sample)
    table = write_table(root, "file,label,split", rows_of(root, split=True))
    result = CliRunner().invoke(main, ["data", "--data", str(table), "--json"])
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert (record["train"]["images"], record["check"]["files"]) == (9, 12)
