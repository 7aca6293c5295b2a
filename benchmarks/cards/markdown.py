"""What the cards' markdown is made of."""

import re
import textwrap
from collections.abc import Sequence

WIDTH = 120
"""Columns of a paragraph; the lines of a table may be longer."""

_UNBROKEN = "\N{NO-BREAK SPACE}"


def paragraph(text: str, bullet: str = "") -> str:
    """``text`` in lines of at most `WIDTH` columns, no code in it broken; the first one begins with ``bullet``."""
    kept = re.sub("`[^`]*`", lambda code: code[0].replace(" ", _UNBROKEN), text)
    indent = " " * len(bullet)
    wrapper = textwrap.TextWrapper(WIDTH, bullet, indent, break_long_words=False, break_on_hyphens=False)
    return wrapper.fill(kept).replace(_UNBROKEN, " ") + "\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; a head that ends in ``>`` has its column aligned to the right."""
    names = [head.removesuffix(">") for head in heads]
    alignment = ["--:" if head.endswith(">") else "---" for head in heads]
    return "".join(f"| {' | '.join(line)} |\n" for line in (names, alignment, *rows))


def block(text: str) -> str:
    """``text`` as it is, in a monospaced font."""
    return f"```text\n{text}\n```\n"
