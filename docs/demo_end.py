"""The end of `make demo`, in its folder: what came of it, and the page at an address until Enter is pressed.

python docs/demo_end.py FOLDER SECONDS    FOLDER as the visitor knows it, SECONDS that the demo took
"""

import json
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and prints no line for each."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print nothing."""


def summary(report: Path, folder: str, seconds: str) -> str:
    """What was made, and how good it is, from the export's report.json."""
    rows = {row["precision"]: row for row in json.loads(report.read_text())["rows"]}
    lines = [
        f"{name}: right on {round(row['accuracy']['value'] * row['accuracy']['images'])} "
        f"of {row['accuracy']['images']} photographs that it never saw, in {row['size'] / 1000:.1f} kB"
        for name, row in rows.items()
    ]
    return "\n".join(
        [
            "",
            f"Done in {seconds} s.",
            *lines,
            "",
            f"what you made     {folder}/runs/photos/export",
            "                  .onnx files, and a folder of C for microcontrollers",
            f"look at it        {folder}/runs/photos/report.html",
            "                  curves, mistakes as photographs, gates, sizes",
            f"your own classes  {_beside('cifar-edge')} train --data DIR --holdout 0.2",
            "                  with photographs as DIR/CLASS/*.jpg; see docs/own-classes.md",
        ]
    )


def _beside(name: str) -> Path:
    """The program beside this Python, which is not on the visitor's PATH, as it is called from the checkout."""
    program, checkout = Path(sys.executable).parent / name, Path(__file__).absolute().parents[1]
    return program.relative_to(checkout) if program.is_relative_to(checkout) else program


def main(folder: str, seconds: str) -> None:
    """Print the summary; serve the page while somebody is there to look at it."""
    print(summary(Path("runs/photos/export/report.json"), folder, seconds))
    if not Path("site").is_dir():
        return
    if not sys.stdin.isatty():
        print(f"the page          {folder}/site; to look at it:")
        print(f"  {_beside('python')} -m http.server --directory {folder}/site --bind 127.0.0.1")
        return
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory="site")) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        print(f"the page          http://127.0.0.1:{server.server_port}/ until you press Enter", flush=True)
        sys.stdin.readline()
        server.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
