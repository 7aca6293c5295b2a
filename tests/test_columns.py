"""Columns of a terminal: what text takes of them, and what is laid out in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar_edge.columns import cut, folded, padded, table, width, wrapped

WIDTHS = {
    "cat": 3,
    "naïve café": 10,
    "nai\u0308ve cafe\u0301": 10,
    "猫": 2,
    "東京　駅": 8,
    "ｶﾀｶﾅ": 4,
    "\u1112\u1161\u11ab\u1100\u1173\u11af": 4,  # Hangul as file names of macOS spell it: consonants and vowels apart
    "\u0646\u06cc\u0645\u200c\u0641\u0627\u0635\u0644\u0647": 8,
    "😀": 2,
    "❤": 1,
    "❤\ufe0f": 2,
    "👍🏽": 2,
    "🇫🇷": 2,
    "👩\u200d👩\u200d👧\u200d👦": 2,
    "👩\u200d❤\ufe0f\u200d👩": 2,
    "🏴\U000e0067\U000e0062\U000e007f": 2,
    "": 0,
}
TABLE = [["class", "training", "test"], ["猫", "1,234", "5"], ["❤\ufe0f dogs", "10", ""]]


@pytest.mark.parametrize(("text", "columns"), WIDTHS.items())
def test_a_character_takes_as_many_columns_as_terminals_draw(text: str, columns: int) -> None:
    assert width(text) == columns
    assert (padded(text, 12), padded(text, 12, ">")) == (text + " " * (12 - columns), " " * (12 - columns) + text)


@given(st.text(alphabet=st.characters(exclude_categories=["C"])), st.integers(1, 20))
def test_what_is_cut_fits(text: str, columns: int) -> None:
    shown = cut(text, columns)
    assert width(shown) <= columns
    assert shown == text or (shown.endswith("…") and text.startswith(shown[:-1]))


def test_a_wide_character_is_not_cut_in_two() -> None:
    assert [cut("猫猫猫", columns) for columns in (6, 5, 4, 3)] == ["猫猫猫", "猫猫…", "猫…", "猫…"]


def test_lines_are_broken_between_words_and_a_path_stays_whole() -> None:
    assert wrapped("export of a/long-path/to.onnx is done", 12, "  ") == [
        "export of",
        "  a/long-path/to.onnx",
        "  is done",
    ]
    assert wrapped("猫 猫 猫", 5) == ["猫 猫", "猫"]
    assert wrapped("title     text", 14, " " * 10) == ["title     text"]
    assert wrapped("", 10) == [""]


def test_what_is_copied_out_of_a_line_stays_whole() -> None:
    copied = [
        "cifar-edge train --resume 'runs/cut off, twice'",
        "'my pets/a cat.png'",
        "`cifar-edge export pets`",
        "pip install 'cifar-edge[train]'",
    ]
    text = f"the run's state: {copied[0]}, or name ({copied[1]}) to it; run {copied[2]} first, after {copied[3]}."
    for columns in range(10, 120):
        lines = folded(text, columns)
        assert " ".join(line.strip() for line in lines) == text
        assert all(any(each in line for line in lines) for each in copied)
        assert all(width(line) <= columns or any(each in line for each in copied) for line in lines)


def test_a_table_is_aligned_by_columns_and_not_by_characters() -> None:
    assert table(TABLE, "<10 >9 >6") == [
        "class      training  test",
        "猫            1,234     5",
        "❤\ufe0f dogs          10",
    ]
    assert table([["name", "n"], ["a longer name", "1"]], "<6 >4") == ["name             n", "a longer name    1"]


def test_a_table_moves_together_then_breaks_with_its_first_column_repeated() -> None:
    assert table(TABLE, "<10 >9 >6", 24) == [
        "class    training test",
        "猫          1,234    5",
        "❤\ufe0f dogs        10",
    ]
    assert table(TABLE, "<10 >9 >6", 20) == [
        "class    training",
        "猫          1,234",
        "❤\ufe0f dogs        10",
        "",
        "class    test",
        "猫          5",
        "❤\ufe0f dogs",
    ]
