"""The C by which a library for PCs chooses its kernels when it runs."""

from collections.abc import Mapping, Sequence

from cifar_edge.c.kernels import Kernels

X86, ARM = ("x86_64", "AMD64"), ("aarch64", "arm64", "ARM64")
"""Names of processor families, as `platform.machine` and CMake have them."""

FAMILIES = {"avx512vnni": X86, "avx2": X86, "neon": ARM}
"""Name of the kernels that are chosen when a library runs -> the processor family that they are for."""

_CHECKS = {
    "avx512vnni": "has(0xe6, 1u << 16 | 1u << 30 | 1u << 31, 1u << 11)",  # F, BW, VL; VNNI
    "avx2": "has(6, 1u << 5, 0)",
    "neon": "has_dot_product()",
}
"""Name of kernels -> expression in ``dispatch.c``: whether the processor and its operating system run them."""


def values(chosen: Mapping[str, Kernels]) -> dict[str, str]:
    """What the templates ``dispatch.h`` and ``dispatch.c`` say of the kernels ``chosen``, best first."""
    known = {name: each for name, each in chosen.items() if name in _CHECKS}
    return {
        "OPTIONS": "".join(f" *   {name}: {' '.join(each.flags)}\n" for name, each in known.items()),
        "VARIANTS_OF_X86": _cmake(known, X86),
        "VARIANTS_OF_ARM": _cmake(known, ARM),
        "ANY_X86": _any(known, X86),
        "ANY_ARM": _any(known, ARM),
        "VARIANTS": "".join(f"{_where(name)}DEFINE({name})\n#endif\n" for name in known),
        "CHECKS": "".join(
            f"{_where(name)}  if ({_CHECKS[name]}) chosen = &variant_{name};\n#endif\n" for name in reversed(known)
        ),
    }


def _where(name: str) -> str:
    return f"#ifdef NETWORK_WITH_{name.upper()}\n"


def _any(known: Mapping[str, Kernels], family: Sequence[str]) -> str:
    """The preprocessor's condition that kernels of ``family`` were compiled in."""
    return " || ".join(f"defined(NETWORK_WITH_{name.upper()})" for name in known if FAMILIES[name] == family) or "0"


def _cmake(known: Mapping[str, Kernels], family: Sequence[str]) -> str:
    return "".join(
        f"    network_add_variant({name} {' '.join(each.flags)})\n"
        for name, each in known.items()
        if FAMILIES[name] == family
    )
