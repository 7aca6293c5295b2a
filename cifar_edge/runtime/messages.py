"""What comes from outside - names, texts of other libraries' errors - made fit for one line on a terminal."""

from collections.abc import Iterable, Sequence

_LONGEST_REASON = 200


def display_name(name: str) -> str:
    """``name`` as one printable line: unchanged where it is one, else escaped (line breaks, undecodable bytes)."""
    return name if name.isprintable() else ascii(name)


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first ``most`` of ``names``, printable, and how many there are where there are more."""
    shown = ", ".join(map(display_name, names[:most]))
    return shown if len(names) <= most else f"{shown}, ... ({len(names):,} in all)"


def reason(error: Exception) -> str:
    """What ``error`` says, on one printable line of bounded length; the name of its type where it says nothing."""
    words = "".join(character if character.isprintable() else " " for character in str(error)).split()
    text = " ".join(words) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """What a message that there is no ``given`` goes on with: the most similar ``known`` one, if any is similar."""
    from difflib import get_close_matches  # takes a while to import, and is for errors only

    similar = get_close_matches(given, list(known), n=1)
    return f" (did you mean {similar[0]}?)" if similar else ""
