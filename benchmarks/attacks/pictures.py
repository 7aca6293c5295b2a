"""Pictures that cost far more than their bytes, given to `read_pixels` and to the service: seconds and megabytes each.

    python -m benchmarks.attacks.pictures [--checkout FOLDER] [--parts N]

Each picture is read in a process of its own, of 6 GiB of address space and 40 s at most; `--checkout` reads it with the
code of another checkout instead, to compare with. Then each is posted three times at once to a service with one worker,
while another client posts a picture of 32x32 again and again: how long that one waits at most, and what memory the
service keeps. Linux only, loopback alone; it takes two minutes, and stops by itself. Nothing is written.
"""

import argparse
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.pictures.hostile import bounded, refused

CHECKOUT = Path(__file__).resolve().parents[2]
ADDRESS_SPACE, SECONDS = 6 << 30, 40
SMALL = CHECKOUT / "docs" / "images" / "cat.png"

_READ = """
import re, sys, time
from pathlib import Path
from PIL import Image
from cifar_edge.errors import ImageError
from cifar_edge.runtime.images import read_pixels
def megabytes(what):
    return int(re.search(what + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
Image.init()
read_pixels(sys.argv[1])
content, before, start = Path(sys.argv[2]).read_bytes(), megabytes("VmRSS"), time.perf_counter()
try:
    read_pixels(content)
    said = "read"
except ImageError as error:
    said = str(error).removeprefix("the given bytes: ")
print(f"{time.perf_counter() - start:7.2f} s {max(0, megabytes('VmHWM') - before):6.0f} MB  {said[:70]}")
"""


def environment(checkout: Path) -> dict[str, str]:
    """Of a process that imports the package from ``checkout``."""
    return os.environ | {"PYTHONPATH": str(checkout)}


def read(path: Path, checkout: Path) -> str:
    """What it takes to read ``path``, and what is said of it."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _READ, str(SMALL), str(path)],
            env=environment(checkout),
            cwd=checkout,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE)),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{SECONDS:>6}+ s"
    return done.stdout.rstrip() or f"ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"


@contextmanager
def served(checkout: Path) -> Iterator[tuple[int, int]]:
    """A service with one worker: its process and its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = [sys.executable, "-c", "from cifar_edge.cli.main import main; main()", "serve", "gn-cnn", "--quiet"]
    with subprocess.Popen(
        [*program, "--workers", "1", "--port", str(port)],
        cwd=checkout,
        env=environment(checkout),
        stderr=subprocess.DEVNULL,
    ) as running:
        try:
            for _ in range(300):
                try:
                    post(port, SMALL.read_bytes(), 10)
                    break
                except OSError:
                    time.sleep(0.1)
            yield running.pid, port
        finally:
            running.kill()


def post(port: int, content: bytes, seconds: float = SECONDS) -> int:
    """The status of the answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("POST", "/v1/predict", content, {"Content-Type": "image/png"})
        return connection.getresponse().status
    finally:
        connection.close()


def memory(process_id: int, what: str) -> float:
    """Physical memory in megabytes: VmRSS, what is held, or VmHWM, the most that was."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def attack(process_id: int, port: int, content: bytes) -> str:
    """What three of ``content`` at once mean for another client and for the memory of the service."""
    statuses: list[int | str] = []

    def ask() -> None:
        try:
            statuses.append(post(port, content))
        except OSError as error:
            statuses.append(type(error).__name__)

    small = SMALL.read_bytes()
    attackers = [threading.Thread(target=ask) for _ in range(3)]
    for attacker in attackers:
        attacker.start()
    longest = 0.0
    while any(attacker.is_alive() for attacker in attackers):
        start = time.perf_counter()
        with suppress(OSError):
            post(port, small)
        longest = max(longest, time.perf_counter() - start)
        time.sleep(0.01)
    time.sleep(0.2)
    kept, most = memory(process_id, "VmRSS"), memory(process_id, "VmHWM")
    return f"{longest:6.2f} s waited, {kept:5.0f} MB kept of {most:5.0f} MB, {sorted(map(str, statuses))}"


def main() -> None:
    """Attack, and print what it cost."""
    parser = argparse.ArgumentParser("python -m benchmarks.attacks.pictures", description=__doc__.partition("\n")[0])
    parser.add_argument("--checkout", type=lambda given: Path(given).absolute(), default=CHECKOUT)
    parser.add_argument("--parts", type=int, default=200_000)
    arguments = parser.parse_args()
    pictures: Mapping[str, Callable[[], bytes]] = {**refused(arguments.parts), **bounded()}
    with tempfile.TemporaryDirectory() as folder:
        contents = {name: make() for name, make in pictures.items()}
        print("read_pixels, each in a process of its own")
        for name, content in contents.items():
            path = Path(folder, "picture")
            path.write_bytes(content)
            print(f"{name:<32} {len(content):>10,} B {read(path, arguments.checkout)}", flush=True)
    print("\nthe service with one worker: three at once, and another client")
    for name in (*bounded(), "text PPM", "JPEG of comments", "JPEG 2000 of layers"):
        with served(arguments.checkout) as (process_id, port):
            print(f"{name:<32} {attack(process_id, port, contents[name])}", flush=True)


if __name__ == "__main__":
    main()
