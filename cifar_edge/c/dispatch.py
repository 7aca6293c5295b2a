"""The C by which a library for PCs chooses its kernels when it runs."""

from collections.abc import Mapping

from cifar_edge.c.kernels import Kernels

CHECKS = {
    "avx512vnni": "has(0xe6, 1u << 16 | 1u << 30 | 1u << 31, 1u << 11)",  # F, BW, VL; VNNI
    "avx2": "has(6, 1u << 5, 0)",
}
"""Name of kernels -> expression in ``dispatch.c``: whether the processor and its operating system run them."""


def values(chosen: Mapping[str, Kernels]) -> dict[str, str]:
    """What the templates ``dispatch.h`` and ``dispatch.c`` say of the kernels ``chosen``, best first."""
    known = {name: each for name, each in chosen.items() if name in CHECKS}
    return {
        "OPTIONS": "".join(f" *   {name}: {' '.join(each.flags)}\n" for name, each in known.items()),
        "VARIANTS_OF_CMAKE": "".join(
            f"    network_add_variant({name} {' '.join(each.flags)})\n" for name, each in known.items()
        ),
        "ANY": " || ".join(f"defined(NETWORK_WITH_{name.upper()})" for name in known) or "0",
        "VARIANTS": "".join(f"{_where(name)}DEFINE({name})\n#endif\n" for name in known),
        "CHECKS": "".join(
            f"{_where(name)}  if ({CHECKS[name]}) chosen = &variant_{name};\n#endif\n" for name in reversed(known)
        ),
    }


def _where(name: str) -> str:
    return f"#ifdef NETWORK_WITH_{name.upper()}\n"
