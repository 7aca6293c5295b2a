"""``out-of-fold.csv``: what cross-validation said of each training image."""

from pathlib import Path

import pytest

from cifar_edge.errors import ModelError
from cifar_edge.runs.out_of_fold import OutOfFold
from cifar_edge.runs.run import OUT_OF_FOLD, Run

JUDGED = [
    OutOfFold("train/a cat/1.jpg", "ab" * 32, 'a "cat", black', "dog\r\nor wolf", 0.875, 0.125),
    OutOfFold("17", "cd" * 32, "猫", "=1+1", 1.0, 0.0),
]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    assert Run(tmp_path).out_of_fold() == []
    Run(tmp_path).write_out_of_fold(JUDGED)
    assert Run(tmp_path).out_of_fold() == JUDGED
    head, *_ = (tmp_path / OUT_OF_FOLD).read_text().splitlines()
    assert head.replace('"', "") == "image,sha256,label,predicted,score,label_score"


def test_the_name_of_a_file_may_be_no_text(tmp_path: Path) -> None:
    Run(tmp_path).write_out_of_fold([OutOfFold("\udcff.jpg", "ab" * 32, "cat", "cat", 1.0, 1.0)])
    (read,) = Run(tmp_path).out_of_fold()
    assert read.image == "'\\udcff.jpg'"


@pytest.mark.parametrize("change", [("0.875", "1.5"), ("0.875", "nan"), ("0.875", "x"), (",label_score", "")])
def test_a_damaged_file_is_one_line(tmp_path: Path, change: tuple[str, str]) -> None:
    Run(tmp_path).write_out_of_fold(JUDGED)
    path = tmp_path / OUT_OF_FOLD
    path.write_text(
        path.read_text().replace('"', "").replace(*change) if change[1] == "" else path.read_text().replace(*change)
    )
    with pytest.raises(
        ModelError, match=r"out-of-fold.csv does not hold the predictions of a cross-validation"
    ) as error:
        Run(tmp_path).out_of_fold()
    assert len(str(error.value).splitlines()) == 1
