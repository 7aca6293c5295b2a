"""The C of a network: templates, filled in with its tables and its name."""

import re
from collections.abc import Mapping
from importlib.resources import files

import numpy as np

import cifar_edge
from cifar_edge.c import dispatch, estimate, kernels, manifests, tables
from cifar_edge.c.figures import flash_bytes, selftest_bytes, state_bytes
from cifar_edge.c.options import COptions
from cifar_edge.c.plan import Plan, plan
from cifar_edge.integer import IntegerNetwork
from cifar_edge.spec import ModelMetadata

_ALWAYS = {
    "network.h": ".h",
    "network.c": ".c",
    "layers.h": "_layers.h",
    "requantize.h": "_requantize.h",
    "generic.h": "_generic.h",
    "camera.h": "_camera.h",
    "camera.c": "_camera.c",
    "variant.h": "_variant.h",
    "dispatch.h": "_dispatch.h",
    "dispatch.c": "_dispatch.c",
}
"""Template -> what follows the prefix in the name of its file."""


_UNPREFIXED = {
    "README.md": "README.md",
    "CMakeLists.txt": "CMakeLists.txt",
    "library.properties": "library.properties",
    "library.json": "library.json",
    "idf_component.yml": "idf_component.yml",
    "zephyr_module.yml": "zephyr/module.yml",
    "zephyr_CMakeLists.txt": "zephyr/CMakeLists.txt",
    "selftest.ino": "examples/selftest/selftest.ino",
}
"""Template -> name of its file: for people, and for CMake, Arduino, PlatformIO, ESP-IDF and Zephyr."""


def write(network: IntegerNetwork, metadata: ModelMetadata, options: COptions) -> dict[str, bytes]:
    """The folder ``MODEL.c`` of ``network``: name -> content.

    Raises:
        TypeError: the network has a layer or a size that has no form in C.
    """
    made = plan(network)
    chosen = kernels.chosen(options.kernel_names)
    prefix = options.prefix(metadata.model)
    values = {
        # Nothing in it ends a comment.
        "DESCRIPTION": re.sub(r"[^\w .,%@+-]", "_", description(network, metadata), flags=re.ASCII),
        "SIZE": str(network.size),
        "CLASSES": str(len(metadata.labels)),
        "WORDS": str(-(-made.memory // 4)),
        "POOL_SUMS": f"  {tables.sum_type(made)} sums[{made.sum_count}];\n" if made.sum_count else "",
        "POOL_SUM": tables.sum_type(made),
        "ACTIVATIONS": str(len(made.steps)),
        "LAYERS": str(len(made.steps) - 1),
        "KERNEL_ROWS": str(max(step.kernel[0] for step in made.steps)),
        "CHANNELS": str(-(-max(step.shape[2] for step in made.steps) // 4) * 4),
        "COLUMN_BYTES": str(kernels.column_bytes(made.steps)),
        "BIAS": f"{tables.bias_type(made).name}_t",
        "PLACE": tables.place_type(made),
        "FEATURES": tables.definitions(made),
        "TABLES": tables.tables(made, chosen),
        "CHOICE": _choice(chosen),
        "INCLUDES": _includes(chosen),
        "CONSTANTS": _constants(network, metadata),
        "TEMPERATURE": f"{metadata.temperature:.8e}f",
        **_threshold(network, metadata),
        "MODEL": metadata.model,
        "STATE": f"{state_bytes(made):,}",
        "FLASH": f"{flash_bytes(made):,}",
        "SELFTEST": f"{selftest_bytes(made):,}",
        "SELFTEST_ONE": f"{selftest_bytes(made, 1):,}",
        "MACS": f"{network.summary().macs:,}",
        "INSTRUCTIONS": _instructions(made),
        "KERNELS": ", ".join(chosen) or "this folder has none but plain C",
        "TIES": str(int(network.size & (network.size - 1) != 0)),
        **dispatch.values(chosen),
        **manifests.values(metadata, prefix),
    }
    texts = {template: f"{prefix}{suffix}" for template, suffix in _ALWAYS.items()}
    headers = [header for each in chosen.values() for header in (each.shared, each.template) if header]
    texts |= {header: f"{prefix}_{header}" for header in headers}
    texts |= _UNPREFIXED
    folder = folder_of(metadata)
    return {f"{folder}/{name}": filled(template, values, prefix).encode() for template, name in texts.items()}


def folder_of(metadata: ModelMetadata) -> str:
    """The name of the folder of a model."""
    return f"{metadata.model}.c"


def _instructions(made: Plan) -> str:
    """What the README says of the instructions of an image; nothing if they cannot be estimated."""
    found = estimate.instructions(made)
    if found is None:
        return ""
    each = ", ".join(f"{processor} {number / 1e6:#.3g}" for processor, number in found.items())
    return f", in estimated million instructions, of one to two cycles each:\n{each}"


def _threshold(network: IntegerNetwork, metadata: ModelMetadata) -> dict[str, str]:
    """The threshold in C, which a compiler's option replaces, and what the README says of it."""
    if metadata.threshold is None:
        return {"THRESHOLD": "/* This model has none. */", "THRESHOLD_SAYS": "This model comes without one."}
    least = least_logit(network.logit_scale, metadata.threshold)
    defined = f"#if !defined(NETWORK_THRESHOLD)\n#define NETWORK_THRESHOLD ({least})\n#endif"
    return {"THRESHOLD": defined, "THRESHOLD_SAYS": f"The model's is {least:,}."}


def least_logit(scale: np.float32, threshold: float) -> int:
    """The least int32 logit that as a float32, times ``scale``, is at least ``threshold``."""
    below, reached = -(2**31), 2**31 - 1  # such products never decrease, so the least is found by halving
    while reached - below > 1:
        middle = (below + reached) // 2
        enough = float(np.float32(middle) * scale) >= threshold
        below, reached = (below, middle) if enough else (middle, reached)
    return reached


def description(network: IntegerNetwork, metadata: ModelMetadata) -> str:
    """The model in one line: name, precision, accuracy, digests of weights and integers, and what wrote it."""
    accuracy = ""
    if metadata.test_accuracy is not None:
        accuracy = f", {metadata.test_accuracy:.2%} of {metadata.test_images} test images"
    return f"{metadata.identity}{accuracy}, integers {network.digest}, written by cifar-edge {cifar_edge.__version__}"


def _choice(chosen: Mapping[str, kernels.Kernels]) -> str:
    """The preprocessor's choice between the kernels."""
    lines: list[str] = []
    for name, each in chosen.items():
        lines.append(f"#{'el' * bool(lines)}if !defined(NETWORK_GENERIC) && {each.condition}")
        lines += [f"#define NETWORK_{name.upper()}", f"#define NETWORK_PACKING_{each.packing.upper()}"]
        if each.floats:
            lines.append("#define NETWORK_FLOAT_FACTORS")
        if each.vectors:
            lines.append("#define NETWORK_BIASES_OF_32_BITS")
    return "\n".join([*lines, "#endif"] if lines else ["/* This folder has no others. */"])


def _includes(chosen: Mapping[str, kernels.Kernels]) -> str:
    lines: list[str] = []
    for name, each in chosen.items():
        lines += [f"#{'el' * bool(lines)}if defined(NETWORK_{name.upper()})", f'#include "network_{each.template}"']
    return "\n".join([*lines, "#endif"] if lines else [])


def _constants(network: IntegerNetwork, metadata: ModelMetadata) -> str:
    labels = "".join(f"    {quoted(label)},\n" for label in metadata.labels)
    scale = f"{network.logit_scale:.8e}f"
    return (
        f"const char network_description[] = {quoted(description(network, metadata))};\n"
        f"const char *const network_labels[NETWORK_CLASSES] = {{\n{labels}}};\n"
        f"const float network_logit_scale = {scale};\n"
    )


def quoted(text: str) -> str:
    """``text`` as a string in C, in UTF-8, whatever the compiler reads sources as."""
    return '"' + "".join(_character(byte) for byte in text.encode()) + '"'


def _character(byte: int) -> str:
    character = chr(byte)  # only these, so that no text looks like one that `filled` replaces
    return character if character.isascii() and (character.isalnum() or character in " ,%@+-") else f"\\{byte:03o}"


def filled(template: str, values: Mapping[str, str], prefix: str) -> str:
    """The text of ``template``, a file in ``templates/``, with ``values`` and the ``prefix`` of the network."""
    text = (files(__package__) / "templates" / template).read_text()
    text = re.sub(r"@([A-Z0-9_]+)@", lambda found: values.get(found[1], found[0]), text)
    text = re.sub(r"\bNETWORK_", f"{prefix.upper()}_", text)
    text = re.sub(r"\bnetwork_", f"{prefix}_", text)
    return re.sub(r"\bnetwork(\.[cho]\b|\)| C\))", rf"{prefix}\1", text)
