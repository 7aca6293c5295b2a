"""The errors that a user can cause, each with the exit code of the command.

    CifarEdgeError          1
    ├── ImageError          1   an input that is not a readable image
    ├── ModelError          1   no model of that name, or a file that is not a model
    │   └── ContractError   1   an ``.onnx`` file that violates the edge contract
    ├── DataError           1   a dataset that is missing, damaged or cannot be fetched
    ├── TrainingError       1   a training that cannot go on
    ├── ExportError         1   a network that cannot be converted
    ├── CannotRun           1   what this machine cannot run: there is no C compiler for it
    ├── PageError           1   a web page that cannot be built or written
    ├── MissingExtra        1   a command whose optional packages are not installed
    ├── RecipeError         2   an unknown key or an impossible value in a recipe
    ├── GateFailed          3   an export that differs from its PyTorch module by more than a gate allows
    └── Interrupted       130   a training that was told to stop, and has saved its state

The message is one line: what is wrong, what was given, how to fix it.
"""


class CifarEdgeError(Exception):
    """Base class of all errors that this package raises on purpose."""

    exit_code = 1


class ImageError(CifarEdgeError):
    """An input that is not a readable image.

    Attributes:
        brief: the message without the text of the decoder that failed, which may contain bytes of the image.
    """

    def __init__(self, message: str, brief: str | None = None) -> None:
        super().__init__(message)
        self.brief = message if brief is None else brief


class ModelError(CifarEdgeError):
    """No model of that name, or a file that is not a model."""


class ContractError(ModelError):
    """An ``.onnx`` file that violates the edge contract (see `cifar_edge.spec`)."""


class DataError(CifarEdgeError):
    """A dataset that is missing, damaged or cannot be fetched."""


class TrainingError(CifarEdgeError):
    """A training that cannot go on."""


class ExportError(CifarEdgeError):
    """A network that cannot be converted."""


class CannotRun(CifarEdgeError):
    """What this machine cannot run, such as C without a compiler; an export reports such files as not compared."""


class PageError(CifarEdgeError):
    """A web page that cannot be built or written."""


class MissingExtra(CifarEdgeError):
    """A command whose optional packages are not installed."""


class RecipeError(CifarEdgeError):
    """An unknown key or an impossible value in a recipe."""

    exit_code = 2


class GateFailed(CifarEdgeError):
    """An export that differs from its PyTorch module by more than a gate allows."""

    exit_code = 3


class Interrupted(CifarEdgeError):
    """A training that was told to stop, and has saved its state."""

    exit_code = 130
