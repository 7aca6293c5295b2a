"""`cifar-edge export --network`: a network that a Python file of the user builds."""

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from cifar_edge.cli.dependencies import needs
from cifar_edge.cli.loading import load
from cifar_edge.cli.narrow import text_columns
from cifar_edge.cli.replaced import note_replaced
from cifar_edge.cli.size_option import ImageSize
from cifar_edge.cli.stages import Stages
from cifar_edge.cli.value_types import File, WholeNumber
from cifar_edge.cli.verbosity import note
from cifar_edge.errors import ExportError, MissingExtra
from cifar_edge.messages import display_name, reason, with_article
from cifar_edge.spec import IMAGE_SIZE, PIXEL_SCALE, PIXEL_ZERO_POINT

if TYPE_CHECKING:
    from torch import nn

    from cifar_edge.export.report import Report

_DEFAULTS = {"mean": PIXEL_ZERO_POINT, "std": 1 / PIXEL_SCALE}
"""Option -> what `cifar_edge.export.fold` takes without it."""
_PREFIXES = ("_orig_mod.", "module.", "_orig_mod.")
"""What torch.compile, DataParallel and DistributedDataParallel put before the names of weights, in either order."""


def _channels(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """A number, or one a channel with commas; None if the option was not given."""
    if value is None:
        return None
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3):
        raise click.BadParameter(f"{value!r} is neither a number nor one for each channel, such as 124,116,104.")
    return numbers


def own_network_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a network of the user's own, as ``own: dict[str, Any]`` of `export_own`."""
    options = [
        click.option(
            "--network",
            metavar="FILE.py:FUNCTION",
            help="Export your own PyTorch network instead of MODEL: the file is run, and the function, called without "
            "arguments, returns the network. Only give files that you trust. See docs/own-network.md.",
        ),
        click.option(
            "--weights",
            metavar="FILE",
            type=File(),
            help="With --network: a safetensors file of its weights.  [default: those that FUNCTION gives it]",
        ),
        click.option(
            "--mean",
            callback=_channels,
            metavar="NUMBER",
            help="With --network: what its input subtracts, in units of 0 to 255; with commas one a channel.  "
            "[default: 128]",
        ),
        click.option(
            "--std",
            callback=_channels,
            metavar="NUMBER",
            help="With --network: what its input divides by.  [default: 64]",
        ),
        click.option(
            "--size",
            metavar="S",
            type=ImageSize(),
            help="With --network: height and width of its images, a multiple of 16 from 32 to 128.  [default: 32]",
        ),
        click.option(
            "--finetune",
            type=WholeNumber(0),
            metavar="EPOCHS",
            help="With --network: train the folded network as long, with your network as teacher.  [default: 0]",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def export_own(
    own: Mapping[str, Any],
    *,
    data: str | None,
    offline: bool,
    holdout: float | None,
    strict: bool,
    out: Path | None,
    max_drop: float,
    targets: Mapping[str, Any],
    debug: bool,
    stages: Stages,
    name: str | None = None,
) -> tuple["Report", Path]:
    """Export the network that ``own`` names; returns the report, and the folder of the files.

    Args:
        own: option -> value or None, for `own_network_options`.
        data: as `cifar_edge.cli.loading.load` takes it.
        offline: as there.
        holdout: as there.
        strict: as there.
        out: None for a folder under runs.
        max_drop: percentage points that int8 may lose.
        targets: target -> its options.
        debug: whether to print the signal after each layer.
        stages: of the command.
        name: of the model and its files; None for that of the Python file.

    Raises:
        ExportError: the file gives no network, its weights do not fit, or it cannot be exported.
        GateFailed: a gate was not passed; nothing is written.
        DataError: there is no such data.
    """
    with needs("train"):
        import cifar_edge.export as edge
        from cifar_edge.export.folder import check_replaceable
        from cifar_edge.export.own_checks import check_labels
        from cifar_edge.training.machine import limit_threads

    limit_threads()
    file, network = build(own["network"])
    folder = out or Path("runs", f"{datetime.now():%Y%m%d-%H%M%S}-{file.stem}", "export")
    check_replaceable(folder)
    if own["weights"] is not None:
        load_weights(network, own["weights"])
    network.eval()
    dataset = load(data, offline, holdout, strict, IMAGE_SIZE if own["size"] is None else own["size"])
    note(
        f"exporting {display_name(file.name)} to {display_name(folder)}: {', '.join(_used(own))}; "
        f"judged by {len(dataset.test_labels)} test images of {display_name(dataset.name)}"
    )
    note_replaced(folder, targets)
    input_map = {name: own[name] for name in _DEFAULTS if own[name] is not None}
    stages.begin("folding the norms")
    folded = edge.fold(network, dataset.train_images, **input_map)
    check_labels(dataset.labels, folded.classes)
    if own["finetune"]:
        stages.begin(f"fine-tuning for {own['finetune']} epoch{'s' if own['finetune'] > 1 else ''}")
        labelled = dataset.train_images, dataset.train_labels
        folded = edge.finetune(folded, labelled, teacher=network, epochs=own["finetune"])
    elif not folded.origin.exact:
        stages.note(
            f"folding is not exact: {folded.origin.reason}; --finetune EPOCHS recovers what the gates find lost"
        )
    stages.begin("making int8")
    integers = edge.quantize(folded, dataset.train_images)
    if debug:
        for line in edge.debug(integers, dataset.train_images).to_table(text_columns()).splitlines():
            stages.tell(line)
    report = edge.export(
        integers,
        folder,
        test=(dataset.test_images, dataset.test_labels),
        labels=dataset.labels,
        targets=targets,
        name=name or file.stem,
        max_drop=max_drop,
        data=dataset.name,
        stage=stages.begin,
    )
    return report, folder


def _used(own: Mapping[str, Any]) -> list[str]:
    """What becomes part of the network besides its layers: mistakes in it show in the accuracy alone."""
    from cifar_edge.export.own_checks import shown

    used = [
        f"{name} {default:g} (the default)" if own[name] is None else f"{name} {shown(own[name])}"
        for name, default in _DEFAULTS.items()
    ]
    function = own["network"].rpartition(":")[2]
    used.append(
        f"the weights that {function} returned"
        if own["weights"] is None
        else f"weights of {display_name(own['weights'])}"
    )
    return used


def build(reference: str) -> tuple[Path, "nn.Module"]:
    """The file of ``FILE.py:FUNCTION``, and the network that the function returns, or is. The file is run.

    Raises:
        BadParameter: ``reference`` is of another form.
        ExportError: the file has no such function, fails, or returns no network.
    """
    from torch import nn

    path, colon, function = reference.rpartition(":")
    file = Path(path)
    shown = display_name(path)
    if not colon or not function.isidentifier():
        raise click.BadParameter(
            f"{display_name(reference)} is not FILE.py:FUNCTION, such as mine.py:build.", param_hint="--network"
        )
    if not file.is_file():
        raise ExportError(f"there is no file {shown}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ExportError(f"{shown} is not a Python file, .py")
    module = importlib.util.module_from_spec(spec)
    try:
        with _as_a_program(file, module):
            spec.loader.exec_module(module)
            if not callable(make := getattr(module, function, None)):
                raise ExportError(f"{shown} has no function {function}")
            network = make if isinstance(make, nn.Module) else make()
    except (ExportError, MissingExtra):
        raise
    except SystemExit as error:
        raise ExportError(
            f"{shown} ends with sys.exit({'' if error.code is None else repr(error.code)}) where it is run to get its "
            f'{function}; put what is its own program under `if __name__ == "__main__":`'
        ) from error
    except Exception as error:  # the user's code may fail in any way
        raise ExportError(f"{shown} fails with {type(error).__name__}: {reason(error)}") from error
    if not isinstance(network, nn.Module):
        found = "nothing" if network is None else with_article(type(network).__name__)
        raise ExportError(f"{function} in {shown} returns {found}, not a torch.nn.Module; end it with `return network`")
    return file, network


@contextmanager
def _as_a_program(file: Path, module: ModuleType) -> Iterator[None]:
    """Give the code of ``file`` what it finds where Python runs it.

    It can import what lies beside it; argparse finds no arguments of ours, and calls itself by the file's name; and
    dataclasses find their module.
    """
    path, arguments, others = list(sys.path), sys.argv, sys.modules.get(module.__name__)
    sys.path.insert(0, str(file.resolve().parent))
    sys.argv = [str(file)]
    if others is None:
        sys.modules[module.__name__] = module
    try:
        yield
    finally:
        sys.path[:], sys.argv = path, arguments
        if others is None:
            sys.modules.pop(module.__name__, None)


def load_weights(network: "nn.Module", path: Path) -> None:
    """Load the weights in a safetensors file, be they of the network or of what wraps it.

    Raises:
        ExportError: it is missing, damaged, or does not fit the network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

    shown = display_name(path)
    if not path.is_file():
        raise ExportError(f"there is no file {shown}")
    try:
        state = load_file(path)
    except OSError as error:
        raise ExportError(f"cannot read {shown}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise ExportError(
            f"{shown} is not a safetensors file ({reason(error)}); write one with "
            "safetensors.torch.save_file(network.state_dict(), ...)"
        ) from error
    own = network.state_dict()
    for wrapper in _PREFIXES:
        if any(name.startswith(wrapper) for name in own):
            break
        consume_prefix_in_state_dict_if_present(state, wrapper)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ExportError(f"{shown} does not fit the network: {reason(error)}") from error
