"""The HTTP service among clients that mean no good, and among too many: all of it runs in `make test-all` only.

But for the first test, of which `make test` runs a short form.
"""

import asyncio
import contextlib
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import CHECKOUT, ENTRY_POINT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_helpers import changes, corpus
from service_helpers import BOUNDARY, FORM, Client, form, post, serving, wait_until

from cifar_edge.service.access import Access
from cifar_edge.service.limits import ServiceLimits

TOKEN = "0123456789abcdef"
HOST = "127.0.0.1"


@pytest.mark.parametrize(
    ("examples", "images"),
    [
        (10, False),
        pytest.param(300, False, marks=pytest.mark.service),
        pytest.param(300, True, marks=pytest.mark.service),
    ],
)
def test_schemathesis_finds_nothing(examples: int, images: bool, tmp_path: Path) -> None:
    with serving(access=Access(token=TOKEN)) as client:
        command = [
            *(str(Path(sys.executable).parent / "schemathesis"), "--no-color", "run", "--no-shrink"),
            *("--max-examples", str(examples), "--seed", "1", "--generation-database", "none"),
            *("--header", f"Authorization: Bearer {TOKEN}", f"http://{HOST}:{client.port}/openapi.json"),
        ]
        if not images:  # no schema can say which bytes are an image
            command += ["--exclude-checks", "positive_data_acceptance"]
        hooks = {"SCHEMATHESIS_HOOKS": "service_images", "PYTHONPATH": str(CHECKOUT / "tests")} if images else {}
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | hooks, capture_output=True, text=True, errors="replace", check=False
        )
    # What it has to say of binary data may be megabytes long.
    found = re.findall(r"- ST\d+ .*", done.stdout)
    assert done.returncode == 0, (found, done.stderr[-2000:], done.stdout[-2000:])
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated
    assert int(generated[1]) > examples


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with serving() as client:
        yield client


@pytest.mark.service
@settings(deadline=None, max_examples=2000, derandomize=True, suppress_health_check=list(HealthCheck))
@given(number=st.integers(0, 99), changed=changes, kept=st.just(1.0) | st.floats(0.0, 1.0))
def test_damaged_images(client: Client, number: int, changed: list[tuple[int, int]], kept: float) -> None:
    content = damaged(corpus()[number % len(corpus())], changed, kept)
    if not content:
        return
    answer = client.predict(content)
    assert answer.status in (200, 422)
    if answer.status == 422:
        answer.problem(422)
        assert answer.json["predictions"][0]["error"].isprintable()


@pytest.mark.service
@settings(deadline=None, max_examples=2000, derandomize=True, suppress_health_check=list(HealthCheck))
@given(changed=changes, kept=st.just(1.0) | st.floats(0.0, 1.0))
def test_damaged_forms(client: Client, changed: list[tuple[int, int]], kept: float) -> None:
    body = damaged(form([corpus()[0], b"--" + BOUNDARY.encode(), b"\r\n"]), changed, kept)
    assert client.predict(body, FORM).status in (200, 400, 422)


@pytest.mark.service
def test_damaged_requests() -> None:
    """Whatever is sent is answered by HTTP, with the fault of whoever sent it, or not at all."""
    intact = post(corpus()[0], len(corpus()[0]))
    statuses = Counter[int]()

    @settings(deadline=None, max_examples=2000, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(changed=changes, kept=st.just(1.0) | st.floats(0.0, 1.0))
    def send(changed: list[tuple[int, int]], kept: float) -> None:
        request = damaged(intact, changed, kept)
        with service.connect() as connection:
            connection.sendall(request)
            received = connection.recv(65536)
        if received:
            version, status, _ = received.split(b" ", 2)
            assert version == b"HTTP/1.1"
            statuses[int(status)] += 1
        else:
            assert request != intact
            statuses[0] += 1

    with serving(ServiceLimits(header_seconds=0.5, body_seconds=0.1)) as service:  # for what is cut
        send()
    assert set(statuses) <= {0, 200, 400, 404, 405, 408, 411, 413, 415, 421, 422}
    assert all(statuses[each] for each in (200, 400, 404, 405, 408, 415, 422)), statuses


def damaged(content: bytes, changed: list[tuple[int, int]], kept: float) -> bytes:
    changing = bytearray(content)
    for place, value in changed:
        changing[place % len(changing)] = value
    return bytes(changing[: int(kept * len(changing))])


class Process:
    """A service with the released gn-cnn, as a process, whose memory and files can be looked at."""

    def __init__(self) -> None:
        self.running = subprocess.Popen(
            [ENTRY_POINT, "serve", "gn-cnn", "--port", "0", "--quiet"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.running.stderr is not None
        said = self.running.stderr.readline()
        match = re.search(r":(\d+);", said)
        assert match, said
        self.client = Client(int(match[1]))
        # Or else what it says fills the pipe, and it waits.
        self._log: list[str] = []
        self._reader = threading.Thread(target=self._log.extend, args=(self.running.stderr,))
        self._reader.start()

    def megabytes(self, kind: str) -> float:
        """VmRSS, what it holds now, or VmHWM, the most it ever held."""
        status = Path(f"/proc/{self.running.pid}/status").read_text()
        match = re.search(rf"{kind}:\s+(\d+) kB", status)
        assert match
        return int(match[1]) / 1024

    def files(self) -> int:
        return len(list(Path(f"/proc/{self.running.pid}/fd").iterdir()))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> list[str]:
        """End it; its log."""
        self.running.send_signal(number)
        self._reader.join()
        self.running.wait()
        assert self.running.stderr is not None
        self.running.stderr.close()
        return self._log


@pytest.fixture
def process() -> Iterator[Process]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # two thousand connections have as many ends here
    process = Process()
    try:
        yield process
    finally:
        if process.running.returncode is None:
            process.stop(signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def answer(port: int, request: bytes, gate: asyncio.Event) -> str:
    """The status, with the marks of a problem that says when to come again; or how the connection ended."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        await gate.wait()
        reading = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        with contextlib.suppress(ConnectionError):  # answered, and not read to its end
            for start in range(0, len(request), 1 << 16):
                writer.write(request[start : start + (1 << 16)])
                await writer.drain()
        head = (await reading).decode().lower()
        status = head.split()[1]
        return f"{status} retry" if "retry-after: 1" in head and "problem+json" in head else status
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        return type(error).__name__
    finally:
        writer.close()


async def answers(port: int, request: bytes, number: int) -> Counter[str]:
    """What ``number`` clients hear, who are all connected before the first one asks."""
    gate = asyncio.Event()
    asking = [asyncio.create_task(answer(port, request, gate)) for _ in range(number)]
    await asyncio.sleep(3)
    gate.set()
    return Counter(await asyncio.gather(*asking))


@pytest.mark.service
def test_two_thousand_requests_at_once(process: Process) -> None:
    content = (CHECKOUT / "docs" / "images" / "cat.png").read_bytes()
    assert process.client.predict(content).status == 200
    files, before = process.files(), process.megabytes("VmRSS")
    left, rounds = 2000, 0
    while left:  # whoever is told to come again does so
        heard = asyncio.run(answers(process.client.port, post(content, len(content)), left))
        assert set(heard) <= {"200", "503 retry"}, heard
        assert heard["200"], heard
        left -= heard["200"]
        rounds += 1
    wait_until(lambda: process.files() <= files)
    assert process.megabytes("VmHWM") < before + 100
    print(f"all answered in {rounds} rounds; {before:.0f} MB before, at most {process.megabytes('VmHWM'):.0f} MB")


@pytest.mark.service
def test_large_bodies_at_once_do_not_add_up(process: Process) -> None:
    before = process.megabytes("VmRSS")
    body = bytes(12_000_000)
    heard = asyncio.run(answers(process.client.port, post(body, len(body)), 100))  # 1.2 GB, if they did
    assert set(heard) <= {"422", "503 retry"}, heard
    assert heard["422"], heard
    assert process.megabytes("VmHWM") < before + 250
    print(f"{heard}; {before:.0f} MB before, at most {process.megabytes('VmHWM'):.0f} MB")


@pytest.mark.service
def test_slow_clients_end_and_hinder_nobody(process: Process) -> None:
    content = (CHECKOUT / "docs" / "images" / "cat.png").read_bytes()
    heads = [process.client.connect() for _ in range(300)]
    bodies = [process.client.connect() for _ in range(150)]
    for connection in bodies:
        connection.sendall(post(content[:100], len(content)))
    open_ones = set(heads + bodies)
    request = b"POST /v1/predict HTTP/1.1\r\nX: " + bytes(b"y" * 1000)
    for second in range(45):
        for connection in list(open_ones):
            try:
                byte = content[100 + second : 101 + second] if connection in bodies else request[second : second + 1]
                connection.sendall(byte)
            except OSError:
                open_ones.discard(connection)
        assert process.client.predict(content).status == 200
        if not open_ones:
            break
        threading.Event().wait(1)
    assert not open_ones
    for connection in bodies:
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
    for connection in heads + bodies:
        connection.close()


@pytest.mark.service
def test_cut_connections_leave_nothing(process: Process) -> None:
    content = (CHECKOUT / "docs" / "images" / "cat.png").read_bytes()
    request = post(content, len(content))
    choose = random.Random(0)
    assert process.client.predict(content).status == 200
    files, before = process.files(), process.megabytes("VmRSS")
    for _ in range(2000):
        with process.client.connect() as connection:
            connection.sendall(request[: choose.randrange(len(request) + 1)])
    wait_until(lambda: process.client.predict(content).status == 200)
    wait_until(lambda: process.files() <= files)
    assert process.megabytes("VmRSS") < before + 30
    assert process.stop() == []
