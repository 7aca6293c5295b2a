"""The options of the target ``c``."""

import re
from dataclasses import dataclass

from cifar_edge.c.kernels import AUTO, GENERIC, KERNELS
from cifar_edge.messages import did_you_mean

_KEYWORDS = """
    auto break case char const continue default do double else enum extern float for goto if inline int
    long register restrict return short signed sizeof static struct switch typedef union unsigned void
    volatile while alignas alignof and and_eq asm bitand bitor bool catch class compl concept const_cast
    consteval constexpr constinit co_await co_return co_yield decltype delete dynamic_cast explicit
    export false friend mutable namespace new noexcept not not_eq nullptr operator or or_eq private
    protected public reinterpret_cast requires static_assert static_cast template this thread_local
    throw true try typeid typename using virtual wchar_t xor xor_eq main
"""
"""Of C and C++."""

_HEADERS = """
    assert complex ctype errno fenv inttypes iso646 limits locale math setjmp signal stdalign stdarg
    stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype
"""
"""Of C. A header of such a name in the folder would take their place."""

_FILES = "avx2|avx512vnni|camera|dispatch|dsp|generic|helium|layers|neon|requantize|variant|x86"
_TAKEN = re.compile(rf"selftest|(.*_)?(add|average_pool|conv|depthwise|grouped|make|max_pool|sums)|.*_({_FILES})")
"""Names of which the C makes a file or a function of its own, such as ``add_row``; and those that end as the files of
another network do: ``net_camera.h`` belongs to ``net``."""


@dataclass(frozen=True, slots=True)
class COptions:
    """Options of the C of a network.

    Attributes:
        kernels: comma-separated names of kernels beside plain C; ``auto`` for all.
        name: prefix of all names in C; None for the model's name, with ``_`` for what C does not allow.

    Raises:
        ValueError: there are no kernels of that name, or ``name`` is not an identifier of C.
    """

    kernels: str = AUTO
    name: str | None = None

    def __post_init__(self) -> None:
        known = (AUTO, GENERIC, *KERNELS)
        for each in self.kernel_names:
            if each not in known:
                raise ValueError(
                    f"no kernels are called {each!r}{did_you_mean(each, known)}; there are {', '.join(known)}"
                )
        if self.name is not None and not is_identifier(self.name):
            raise ValueError(
                f"{self.name!r} is not an identifier of C: letters, digits and _, and no keyword or name that is taken"
            )

    @property
    def kernel_names(self) -> tuple[str, ...]:
        """The names in ``kernels``."""
        return tuple(self.kernels.split(","))

    def prefix(self, model: str) -> str:
        """The prefix of all names in C of the model called ``model``."""
        if self.name is not None:
            return self.name
        name = re.sub(r"\W", "_", model, flags=re.ASCII)
        possible = (each for each in (name, f"net_{name}", f"net_{name}_net") if is_identifier(each))
        return next(possible, f"net_{name}")


def is_identifier(name: str) -> bool:
    """Whether ``name`` is an identifier in C and in C++ that is not reserved, and stands for nothing else here."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or "__" in name:
        return False
    lower = name.lower()  # for file systems that do not tell cases apart
    return name not in _KEYWORDS.split() and lower not in _HEADERS.split() and not _TAKEN.fullmatch(lower)
