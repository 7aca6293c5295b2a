"""The tables of a network in C: its layers, activations, weights and factors, as text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from cifar_edge.c.kernels import PACKED, PACKINGS, Kernels, is_wide
from cifar_edge.c.plan import ALIGNMENT, Plan, Step, window_rows
from cifar_edge.integer import Quantization
from cifar_edge.integer.quantization import DENOMINATOR, Factors

Number = TypeVar("Number", bound=np.generic)
_WIDTH = 118
_FEATURES = ("conv", "depthwise", "grouped", "max_pool", "average_pool", "global_pool", "add")
_BYTE, _WORD = 2**8 - 1, 2**16 - 1


def tables(made: Plan, kernels: Mapping[str, Kernels]) -> str:
    """Everything of ``made`` that is constant.

    Raises:
        TypeError: a number does not fit into its field, or a sum of products may not fit into 32 bits.
    """
    has = features(made)
    parts = [_parameters(index, step, made, kernels) for index, step in enumerate(made.steps)]
    parts.append(_activations(made, has))
    rows = ",\n".join(_layer(index, made, has) for index in range(len(made.steps)))
    parts.append(f"static const layer layers[LAYERS + 1] = {{\n{rows},\n}};\n")
    parts.append(_fills(made))
    return "\n".join(parts)


def features(made: Plan) -> dict[str, bool]:
    """What the layers of ``made`` have: name -> whether one of them has it."""
    kinds = {step.kind for step in made.steps}
    has = {name: name in kinds for name in _FEATURES}
    has["pools"] = has["max_pool"] or has["average_pool"]
    has["short_sums"] = made.sum_bytes == 2
    has["depthwise_rest"] = any(step.kind == "depthwise" and step.shape[2] % 4 for step in made.steps)
    has["conv_rest"] = any(_has_rest(index, step, made) for index, step in enumerate(made.steps))
    has["odd"] = any(step.kind == "conv" and (step.shape[1] % 2 or step.shape[2] % 2) for step in made.steps)
    has["clips"] = any(step.output is not None and step.output.largest < _BYTE for step in made.steps)
    has["shifts"] = any(step.has_shifts for step in made.steps)
    has["fractions"] = any(step.numerator < DENOMINATOR for step in made.steps)
    has["float32"] = any(step.is_float32 for step in made.steps)
    return has


def definitions(made: Plan) -> str:
    """The `features` for the preprocessor, and the width of depthwise windows, a constant where all have the same."""
    lines = [f"#define NETWORK_HAS_{name.upper()} {int(found)}" for name, found in features(made).items()]
    widths = {step.kernel[1] for step in made.steps if step.kind == "depthwise"}
    lines.append(f"#define DEPTHWISE_TAPS(l) {widths.pop() if len(widths) == 1 else '(l)->kernel_columns'}")
    return "\n".join(lines)


def _has_rest(index: int, step: Step, made: Plan) -> bool:
    """Whether kernels that take the codes of a row by 4, and those of a window by 16, leave any, or find none."""
    if step.kind != "conv":
        return False
    length = step.kernel[1] * made.activations[step.inputs[0]].channels
    all_rows = index in made.padding
    rows = {step.kernel[0] if all_rows else len(window_rows(made, step, row)) for row in range(step.shape[0])}
    return bool(length % 4) or any(count == 0 or count * length % 16 for count in rows)


def bias(step: Step, made: Plan, offset: int = 0) -> npt.NDArray[np.int64]:
    """The biases of a convolution of codes less ``offset``: less the zero point times the sum of the weights.

    Raises:
        TypeError: a sum of products may not fit into 32 bits, or not so times its factor.
    """
    assert step.weights is not None
    assert step.bias is not None
    weights = step.weights.astype(np.int64).reshape(len(step.weights), -1)
    zero_point = made.activations[step.inputs[0]].quantization.zero_point
    moved: npt.NDArray[np.int64] = step.bias.astype(np.int64) - (zero_point - offset) * weights.sum(1)
    largest = np.abs(moved) + 255 * np.abs(weights).sum(1)
    if (largest >= 2**31).any():
        raise TypeError(f"the sums of {step.name} do not fit into 32 bits")
    if step.factors is not None and (largest * step.factors >= 2**31 - 256).any():
        raise TypeError(f"the sums of {step.name} times its scales do not fit into 32 bits")
    return moved


def bias_type(made: Plan) -> np.dtype[Any]:
    """The type of the biases of codes as they are: int16 if those of all layers fit.

    Raises:
        TypeError: as `bias`.
    """
    biases = np.concatenate([bias(step, made) for step in made.steps if step.weights is not None])
    return np.dtype(np.int16 if np.array_equal(biases, biases.astype(np.int16)) else np.int32)


def place_type(made: Plan) -> str:
    """The type in C of the number of a word of the memory."""
    return "uint16_t" if made.memory // ALIGNMENT <= _WORD else "uint32_t"


def sum_type(made: Plan) -> str:
    """The type in C of the sums of global pools."""
    return f"uint{8 * made.sum_bytes}_t"


def _parameters(index: int, step: Step, made: Plan, kernels: Mapping[str, Kernels]) -> str:
    """Weights, biases and factors of a step."""
    parts = []
    if step.weights is not None:
        parts.append(_weights(index, step, made, kernels))
    if step.fixed is not None:
        multipliers = _even(step.fixed.multiplier) if step.kind in PACKED else step.fixed.multiplier
        parts.append(array("int32_t", f"multipliers_{index}", multipliers))
        if step.has_shifts:
            parts.append(array("uint8_t", f"shifts_{index}", step.fixed.shift))
    return f"/* {step.name} */\n" + "".join(parts)


def _weights(index: int, step: Step, made: Plan, kernels: Mapping[str, Kernels]) -> str:
    """Weights and biases of a step, and its factors as floats, as each packing wants them."""
    moved = bias(step, made)
    plain = array("int8_t", f"weights_{index}", PACKINGS["plain"](step).weights)
    plain += array("bias_type", f"bias_{index}", moved)
    packings = dict.fromkeys(each.packing for each in kernels.values() if each.packing != "plain")
    if step.kind not in PACKED or not packings:
        return plain
    text = ""
    for number, packing in enumerate(packings):
        packed = PACKINGS[packing](step)
        text += f"#{'el' * (number > 0)}if defined(NETWORK_PACKING_{packing.upper()})\n"
        text += "ALIGNED " + array("int8_t", f"weights_{index}", packed.weights)
        text += array("bias_type", f"bias_{index}", _in_order(bias(step, made, packed.offset), packed.channels))
        if any(each.packing == packing and each.floats for each in kernels.values()):
            assert step.factors is not None
            factors = float_constants(_in_order(step.factors, packed.channels))
            text += f"static const float factors_{index}[{len(packed.channels)}] = {{\n{factors}}};\n"
    return f"{text}#else\n{plain}#endif\n"


def _in_order(values: npt.NDArray[Number], channels: npt.NDArray[np.intp]) -> npt.NDArray[Number]:
    """``values`` of channels in the order of ``channels``, 0 for those that do not exist."""
    return np.pad(values, (0, channels.max() + 1 - len(values)))[channels]


def _even(values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """``values``, with a 0 where their number is odd: some kernels read two at a time."""
    return np.pad(values, (0, len(values) % 2))


def _layer(index: int, made: Plan, has: Mapping[str, bool]) -> str:
    """The entry of a step in the table of layers, for a network with the `features` of ``has``."""
    step = made.steps[index]
    one, other = step.inputs[0], step.inputs[-1]
    given = made.activations[one]
    output = step.output or Quantization(np.float32(1))
    rows, columns = (given if step.kind == "global_pool" else step).shape[:2]
    kind = "conv" if step.kind == "sums" else step.kind
    last_reader = min(made.last_reader(index + 1), len(made.steps) - 2)
    factors = step.factors is not None
    weights = step.weights is not None
    window: list[int] = [*step.kernel, *step.stride, *step.padding[:2]]
    shapes: list[int] = [rows, columns, given.channels, step.shape[2]]
    _check(step, window, _BYTE)
    _check(step, [*shapes, step.groups, given.row_bytes], _WORD)
    cells: list[list[object]] = [
        [f"KIND_{kind.upper()}", one, other, max(last_reader, 0)],
        [*window],
        [
            given.quantization.zero_point,
            made.activations[other].quantization.zero_point,
            output.zero_point,
            output.largest,
        ],
        [step.kernel[0] - 1 - step.padding[0]],
        [*shapes],
        [made.sums.get(index, made.padding.get(index, 0) // ALIGNMENT)],
        [step.groups] if has["grouped"] else [],
        [round(2**15 * step.numerator / DENOMINATOR)] if has["fractions"] else [],
        [int(step.is_float32)] if has["float32"] else [],
        [f"weights_{index}" if weights else "0", f"bias_{index}" if weights else "0"],
        [f"multipliers_{index}" if factors else "0"],
        [f"shifts_{index}" if step.has_shifts else "0"] if has["shifts"] else [],
    ]
    text = ", ".join(str(cell) for row in cells for cell in row)
    floats = f"factors_{index}" if step.kind in PACKED else "0"
    return f"    /* {step.name} */ {{{text} FACTORS({floats}, {int(is_wide(step))})}}"


def _check(step: Step, numbers: Iterable[Any], largest: int) -> None:
    if any(number > largest for number in numbers):
        raise TypeError(f"{step.name} has a size over {largest}")


def _activations(made: Plan, has: Mapping[str, bool]) -> str:
    """The table of activations, and that of the places of their rows; ``has`` are the `features`."""
    entries: list[str] = []
    places: list[int] = []
    for a in made.activations[:-1]:
        behind = a.padding_words
        shape = a.shape[:2] if has["pools"] else a.shape[:1]
        numbers = [len(places), *shape, a.words_before, behind.start, len(behind), a.quantization.zero_point]
        if any(number > _WORD for number in numbers):
            raise TypeError(f"an activation of {a.shape} has a size over {_WORD}")
        entries.append(f"    {{{', '.join(map(str, numbers))}}},\n")
        places += [row // ALIGNMENT for row in a.rows]
    table = f"static const activation activations[LAYERS + 1] = {{\n{''.join(entries)}}};\n"
    return table + array("place_type", "places", np.array(places))


def _fills(made: Plan) -> str:
    """The rows of padding whose code is not 0."""
    rows = []
    for index, offset in made.padding.items():
        given = made.activations[made.steps[index].inputs[0]]
        rows.append(f"    {{{offset}, {made.padding_bytes(index)}, {given.quantization.zero_point}}},")
    rows = rows or ["    {0, 0, 0},"]
    return "static const fill fills[] = {\n" + "\n".join(rows) + "\n};\n"


def float_constants(values: Factors) -> str:
    """``values`` as C constants that are read as the same float32, in lines."""
    return _lines([f"{value:.8e}f" for value in values.tolist()])


def array(kind: str, name: str, values: npt.NDArray[Any]) -> str:
    """A constant array of integers."""
    return f"static const {kind} {name}[{values.size}] = {{\n{integer_constants(values)}}};\n"


def integer_constants(values: npt.NDArray[Any]) -> str:
    """Integers as C constants, in lines."""
    return _lines([_constant(value) for value in values.reshape(-1).tolist()])


def _lines(constants: Sequence[str]) -> str:
    lines, line = [], ""
    for constant in constants:
        cell = f"{constant},"
        if len(line) + len(cell) > _WIDTH:
            lines.append(line)
            line = ""
        line += cell
    return "".join(f"{each}\n" for each in [*lines, line])


def _constant(value: int) -> str:
    """``value`` in C, where -2147483648 would be a minus before a number that is too large."""
    return "-2147483647 - 1" if value == -(2**31) else str(value)
