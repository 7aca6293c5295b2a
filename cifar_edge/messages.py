"""Text from outside, such as names and errors of other libraries, made safe for a terminal.

Only characters that break a line, move the cursor or change the direction of writing are escaped: control characters
(C0, C1), separators of lines and paragraphs, bidirectional embeddings, overrides and isolates, and bytes that are not
text. Joiners stay, since Persian words and emoji of families need them.
"""

import os
import re
import shlex
from collections.abc import Iterable, Sequence

_LONGEST_REASON = 200
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def display_name(name: str | os.PathLike[str]) -> str:
    """``name`` on one line: unchanged if it is safe for a terminal, else escaped and in quotes."""
    name = os.fspath(name)
    if not _UNSAFE.search(name):
        return name
    return "'" + _escaped(name.replace("\\", "\\\\").replace("'", "\\'")) + "'"


def shell_word(text: str) -> str:
    """``text`` as one word of a command, to be pasted into a shell: quoted where needed, as ``$'...'`` where unsafe.

    ``$'...'`` is a form of bash, zsh and POSIX.1-2024, section 2.2.4.
    """
    if not _UNSAFE.search(text):
        return shlex.quote(text)
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{_UNSAFE.sub(_in_shell, quoted)}'"


def _in_shell(found: re.Match[str]) -> str:
    """An unsafe character as ``$'...'`` takes it; Python keeps a byte that is no text at U+DC80 to U+DCFF."""
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else ascii(found[0])[1:-1]


def fit(text: str) -> str:
    """``text`` of any number of lines, with characters that are unsafe for a terminal escaped."""
    return "\n".join(map(_escaped, text.split("\n")))


def one_line(text: str) -> str:
    """``text`` on one line, with line feeds and characters that are unsafe for a terminal escaped."""
    return _escaped(text)


def _escaped(text: str) -> str:
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first ``most`` of ``names``, safe for a terminal, and the number of all if there are more."""
    shown = ", ".join(map(display_name, names[:most]))
    return shown if len(names) <= most else f"{shown}, ... ({len(names):,} in all)"


def reason(error: Exception) -> str:
    """The message of ``error`` on one line of bounded length, safe for a terminal; its type if it has no message."""
    text = " ".join(_UNSAFE.sub(" ", str(error)).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def with_article(name: str) -> str:
    """``a name``, or ``an name``."""
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the ``known`` one that is most similar, if any is."""
    from difflib import get_close_matches  # slow to import, and needed for errors only

    similar = get_close_matches(given, list(known), n=1)
    return f" (did you mean {display_name(similar[0])}?)" if similar else ""
