"""Reads the folder of an export: its ``.onnx`` files, which of them to use, and its ``report.json``."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cifar_edge.errors import ModelError
from cifar_edge.messages import display_name
from cifar_edge.runs.reading import record_in, time_of

EXPORT = "export"
"""Name of the export's folder in the folder of a run."""
REPORT = "report.json"


@dataclass(frozen=True, slots=True)
class Export:
    """A folder that `cifar-edge export` wrote.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def files(self) -> list[Path]:
        """The ``.onnx`` files. Hidden ones are left out: they are still being written."""
        return list(self._files())

    @property
    def created(self) -> datetime | None:
        """When it was made; None if the report does not say."""
        return time_of(self._report().get("created"))

    @property
    def model(self) -> str | None:
        """Name of the network in the report, without folders; None if the report has none."""
        name = self._report().get("model")
        return Path(name).name if isinstance(name, str) else None

    @property
    def targets(self) -> dict[str, set[str]]:
        """Target -> names of its files in the report, some in a folder; a path to elsewhere is none."""
        targets = self._report().get("targets")
        listed = targets.items() if isinstance(targets, dict) else ()
        return {target: _names_within(files) for target, files in listed if isinstance(files, list)}

    @property
    def target_files(self) -> set[str]:
        """Names of the files of all `targets`."""
        return set().union(*self.targets.values())

    @property
    def row_files(self) -> set[str]:
        """Names of the ``.onnx`` files that the report has measured; a path to elsewhere is none."""
        rows = self._report().get("rows")
        return (
            _names_within(row.get("file") for row in rows if isinstance(row, dict)) if isinstance(rows, list) else set()
        )

    def file(self) -> Path:
        """The file to use when only the folder is given: int8, unless the report says to deploy fp32.

        Raises:
            ModelError: the folder has no ``.onnx`` file, or files of several models.
        """
        files = {file.name: file for file in self._files()}
        if len(files) == 1:
            return files.popitem()[1]
        preferred = ("fp32", "int8") if self._report().get("deploy") == "fp32" else ("int8", "fp32")
        models = {name.rsplit(".", 2)[0] for name in files}
        for precision in preferred:
            for model in models if len(models) == 1 else ():
                if (name := f"{model}.{precision}.onnx") in files:
                    return files[name]
        found = ", ".join(map(display_name, sorted(files))) or "no .onnx file"
        raise ModelError(f"{display_name(self.path)} holds {found}; give the .onnx file you mean")

    def _files(self) -> Iterator[Path]:
        try:
            yield from (file for file in sorted(self.path.glob("[!.]*.onnx")) if file.is_file())
        except OSError:
            return

    def _report(self) -> dict[str, Any]:
        return record_in(self.path / REPORT)


def _names_within(values: Iterable[object]) -> set[str]:
    """Those of ``values`` that are names of files in a folder, or in one of its folders."""
    names = [value for value in values if isinstance(value, str)]
    return {name for name in names if all(part not in ("", ".", "..") for part in name.split("/"))}
