"""What comes from outside - names, texts of other libraries' errors - made fit for a terminal.

Only what would break a line, move the cursor or turn the direction of writing is escaped: control characters (C0, C1),
the separators of lines and paragraphs, bidirectional embeddings, overrides and isolates, and bytes that are no text.
Joiners stay, without which Persian words and families of emoji are others.
"""

import re
from collections.abc import Iterable, Sequence

_LONGEST_REASON = 200
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def display_name(name: str) -> str:
    """``name`` on one line: unchanged where nothing in it is unfit for a terminal, else in quotes, that escaped."""
    if not _UNFIT.search(name):
        return name
    return "'" + _escaped(name.replace("\\", "\\\\").replace("'", "\\'")) + "'"


def fit(text: str) -> str:
    """``text`` of any number of lines, with what is unfit for a terminal escaped."""
    return "\n".join(map(_escaped, text.split("\n")))


def one_line(text: str) -> str:
    """``text`` on one line, with what is unfit for a terminal escaped; so are line feeds."""
    return _escaped(text)


def _escaped(text: str) -> str:
    return _UNFIT.sub(lambda found: ascii(found[0])[1:-1], text)


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first ``most`` of ``names``, printable, and how many there are where there are more."""
    shown = ", ".join(map(display_name, names[:most]))
    return shown if len(names) <= most else f"{shown}, ... ({len(names):,} in all)"


def reason(error: Exception) -> str:
    """What ``error`` says, on one bounded line fit for a terminal; the name of its type where it says nothing."""
    text = " ".join(_UNFIT.sub(" ", str(error)).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """What a message that there is no ``given`` goes on with: the most similar ``known`` one, if any is similar."""
    from difflib import get_close_matches  # takes a while to import, and is for errors only

    similar = get_close_matches(given, list(known), n=1)
    return f" (did you mean {similar[0]}?)" if similar else ""
