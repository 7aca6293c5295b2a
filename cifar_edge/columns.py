"""Text in the columns of a terminal, of which a wide character takes two and a combining one none.

Characters are counted as `wcwidth` of C does, and in sequences of emoji as terminals draw them: as one. Text has been
made safe before (`cifar_edge.messages`), so that it holds no control characters.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

PAGE = 80
"""Columns that text for people is written in, where there is room for them."""

_COPIED = re.compile(
    r"""(?<![^\s(=:])(?:`[^`]*`|\$?'[^']*'|"[^"]*")(?![^\s.,;:)?!])"""
    r"""|\b(?:cifar-edge|pip install|python -m)\ (?:'[^']*'|[^,;:()'])*(?<!\s)"""
)
"""What people copy out of a line: what is quoted, and commands, up to the next punctuation."""
_HELD = "\0"
"""Stands for a space at which no line is broken."""
_JOINER, _AS_EMOJI = "\u200d", "\ufe0f"
_SKIN = range(0x1F3FB, 0x1F400)
"""Modifiers of the emoji before them."""
_JAMO = range(0x1160, 0x1200)
"""Vowels and final consonants of Hangul, which combine with the consonant before them."""


def width(text: str) -> int:
    """How many columns ``text`` takes."""
    if text.isascii():
        return len(text)
    *_, end = _ends(text)
    return end


def padded(text: str, columns: int, align: str = "<") -> str:
    """``text`` with spaces after it, or for ``>`` before it, so that it takes ``columns``."""
    spaces = " " * (columns - width(text))
    return spaces + text if align == ">" else text + spaces


def cut(text: str, columns: int, sign: str = "…") -> str:
    """``text``, or what fits of it into ``columns`` with ``sign`` after it."""
    if width(text) <= columns:
        return text
    left = columns - width(sign)
    return text[: sum(end <= left for end in _ends(text))] + sign


def wrapped(text: str, columns: int, indent: str = "") -> list[str]:
    """Lines of ``columns`` at most, broken between words; a longer word stays whole, so that a path can be copied.

    Args:
        text: of one line; several spaces in it stay as they are.
        columns: of a line.
        indent: of all lines but the first.
    """
    line, *words = text.split(" ")
    lines = []
    for word in words:
        if line.strip() and width(line) + 1 + width(word) > columns:
            lines.append(line.rstrip())
            line = indent + word
        else:
            line += f" {word}"
    return [*lines, line.rstrip()]


def folded(text: str, columns: int) -> list[str]:
    """`wrapped`, but neither a command nor what is quoted is broken, so that each can be copied."""
    held = _COPIED.sub(lambda found: found[0].replace(" ", _HELD), text)
    return [line.replace(_HELD, " ") for line in wrapped(held, columns, "  ")]


def table(rows: Sequence[Sequence[str]], layout: str, columns: int = PAGE) -> list[str]:
    """The lines of a table. Where ``columns`` are too few, its cells move together, then it is broken into several.

    Each of several tables begins with the first column, and a blank line lies between them.

    Args:
        rows: of as many cells each, the head first.
        layout: alignment and width of each column, such as ``<20 >10 >10``; a column is wider where a cell needs it.
        columns: of a line.
    """
    aligns = [column[0] for column in layout.split()]
    needed = [max(map(width, cells)) + 1 for cells in zip(*rows, strict=True)]
    wanted = [int(column[1:]) for column in layout.split()]
    widths = [least if least > 1 + given else given for given, least in zip(wanted, needed, strict=True)]
    if sum(widths) > columns:
        widths = needed
    lines: list[str] = []
    for part in _parts(widths, columns):
        cells = ([padded(row[index], widths[index], aligns[index]) for index in part] for row in rows)
        lines += [*([""] if lines else []), *("".join(row).rstrip() for row in cells)]
    return lines


def _parts(widths: Sequence[int], columns: int) -> list[list[int]]:
    """The indices of table columns that fit beside each other, each time with the first one."""
    parts = [[0]]
    for index in range(1, len(widths)):
        if len(parts[-1]) > 1 and sum(widths[each] for each in [*parts[-1], index]) > columns:
            parts.append([0])
        parts[-1].append(index)
    return parts


def _ends(text: str) -> Iterator[int]:
    """How many columns ``text`` takes up to the end of each character."""
    end = last = 0
    joined = False
    for character in text:
        if character == _AS_EMOJI:
            taken = int(last == 1)  # it makes a wide symbol of a narrow one
            last += taken
        elif last == 2 and (joined or ord(character) in _SKIN):
            taken = 0
        else:
            taken = _taken(character)
            last = taken or last
        joined = character == _JOINER
        end += taken
        yield end


def _taken(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"} or ord(character) in _JAMO:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
