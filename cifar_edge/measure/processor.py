"""Identifies the processor, and the instructions that int8 models run on (docs/int8.md)."""

import platform
from collections.abc import Mapping
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")

_X86 = {"AVX2": "avx2", "AVX-512 VNNI": "avx512_vnni", "AVX-VNNI": "avx_vnni"}
_ARM = {"dotprod": "asimddp", "i8mm": "i8mm"}
"""Name of an instruction set -> its name in /proc/cpuinfo."""

_MEASURE = "cifar-edge benchmark measures both"


def processor() -> str:
    """The model name of the processor."""
    names = _values(cpuinfo(), "model name")
    return names[0] if names else platform.processor() or "unknown processor"


def cpuinfo() -> str:
    """The content of /proc/cpuinfo; empty on other systems than Linux."""
    try:
        return _CPUINFO.read_text("utf-8", "replace")
    except OSError:
        return ""


def int8_instructions(said: str) -> dict[str, bool] | None:
    """Instruction set for int8 -> whether the processor of ``said``, a /proc/cpuinfo, has it; None if unknown."""
    for key, sets in (("flags", _X86), ("Features", _ARM)):
        if lines := _values(said, key):
            has = lines[0].split()
            return {name: flag in has for name, flag in sets.items()}
    return None


def int8_verdict(instructions: Mapping[str, bool] | None) -> str:
    """A line of text on how well int8 models run with the `int8_instructions` of a processor."""
    if instructions is None:
        return f"int8 or fp32? {_MEASURE}"
    if "AVX2" not in instructions:
        how = "in dot products" if any(instructions.values()) else "without dot products"
        return f"int8 runs {how} and gives x86's logits (tried in emulation); how fast is not known: {_MEASURE}"
    if instructions["AVX-512 VNNI"] or instructions["AVX-VNNI"]:
        return f"int8 runs on VNNI, which sums in 32 bits: exact, and fast where norms are folded; {_MEASURE}"
    if instructions["AVX2"]:
        return (
            "without VNNI int8 is summed in 16 bits, which the files of cifar-edge export never exceed: exact; "
            f"how fast is not known: {_MEASURE}"
        )
    return f"without AVX2 int8 may be slower than fp32: {_MEASURE}"


def _values(said: str, key: str) -> list[str]:
    lines = (line.partition(":") for line in said.splitlines())
    return [value.strip() for name, _, value in lines if name.strip() == key]
