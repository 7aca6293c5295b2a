"""The HTTP service at its bounds: it refuses, ends what is too slow, and finishes what it accepted."""

import asyncio
import gc
import io
import socket
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Event

import pytest
from PIL import Image
from service_helpers import FORM, Answer, Gate, form, post, read_until_closed, serving, wait_until
from tiny import TINY

from cifar_edge import Classifier, Prediction
from cifar_edge.runtime.images import ImageSource
from cifar_edge.runtime.limits import DEFAULT_LIMITS, Limits
from cifar_edge.service.limits import ServiceLimits
from cifar_edge.service.pool import Pool
from cifar_edge.service.problems import Problem


@pytest.fixture(scope="module")
def content() -> bytes:
    return (Path(__file__).parents[2] / "docs" / "images" / "cat.png").read_bytes()


def status_of(received: bytes) -> int:
    return int(received.split()[1])


def assert_busy(answer: Answer, detail: str) -> None:
    assert detail in answer.problem(503)
    assert answer.headers["retry-after"] == "1"


def test_a_full_queue_refuses_and_recovers(content: bytes) -> None:
    gate = Gate()
    with serving(ServiceLimits(workers=1, waiting=2), classifier=gate) as client, ThreadPoolExecutor(10) as asking:
        asked = [asking.submit(client.predict, content) for _ in range(10)]
        wait_until(lambda: sum(answer.done() for answer in asked) == 7)
        for answer in asked:
            if answer.done():
                assert_busy(answer.result(), "too many requests are waiting")
        assert client.ask("GET", "/healthz").status == 200
        gate.open.set()
        assert Counter(answer.result().status for answer in asked) == {503: 7, 200: 3}
        assert client.predict(content).status == 200


def test_an_answer_that_takes_too_long_is_given_up_and_keeps_its_place(content: bytes) -> None:
    gate = Gate()
    with serving(ServiceLimits(workers=1, waiting=1, answer_seconds=1.0), classifier=gate) as client:
        assert_busy(client.predict(content), "more than 1 seconds")
        assert_busy(client.predict(content), "more than 1 seconds")  # it waited, and was given up
        assert gate.waiting == 1
        gate.open.set()
        wait_until(lambda: client.predict(content).status == 200)


def test_between_two_images_of_a_request_others_have_their_turn(content: bytes) -> None:
    order = []

    class Telling(Gate):
        def predict(self, image: ImageSource, name: str | None = None, limits: Limits = DEFAULT_LIMITS) -> Prediction:
            order.append("many" if image == content else "one")
            return super().predict(image, name, limits)

    gate = Telling()
    black = io.BytesIO()
    Image.new("RGB", (32, 32)).save(black, "PNG")
    with (
        serving(ServiceLimits(workers=1), classifier=gate) as client,
        client.connect() as one,
        ThreadPoolExecutor(1) as asking,
    ):
        many = asking.submit(client.predict, form([content] * 16), FORM)
        wait_until(lambda: gate.waiting == 1)
        one.sendall(post(black.getvalue(), len(black.getvalue())))
        assert client.ask("GET", "/healthz").status == 200  # by now the service has read what came before
        gate.open.set()
        assert len(many.result().json["predictions"]) == 16
        assert status_of(one.recv(65536)) == 200
    assert order[-1] == "many"


def test_what_was_given_up_holds_nothing_and_is_not_waited_for() -> None:
    pool, gate, classifier = Pool(ServiceLimits(workers=1, waiting=1, answer_seconds=0.1)), Event(), Classifier(TINY)
    held = weakref.ref(classifier)

    async def ask(call: Callable[[], bool]) -> None:
        with pytest.raises(Problem, match=r"more than 0\.1 seconds"):
            await pool.run(call)

    asyncio.run(ask(gate.wait))
    asyncio.run(ask(partial(hasattr, classifier, "labels")))
    del classifier
    gc.collect()
    assert held() is None
    assert not pool.close()  # at once, though a call runs
    gate.set()
    wait_until(pool.close)


def test_the_bodies_of_all_requests_are_bounded(content: bytes) -> None:
    with serving(ServiceLimits(held_bytes=100_000)) as client:
        with client.connect() as slow:
            slow.sendall(post(bytes(95_000), length=96_000))
            wait_until(lambda: client.predict(bytes(6_000)).status == 503)
            assert_busy(client.predict(bytes(6_000)), "too many bytes")
            assert client.predict(content).status == 200
        wait_until(lambda: client.predict(bytes(6_000)).status == 422)  # the slow one is gone, and so are its bytes


@pytest.mark.parametrize("part", [b"", b"POST /v1/predict HT", b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_slow_head_ends(part: bytes) -> None:
    with serving(ServiceLimits(header_seconds=0.3)) as client, client.connect() as connection:
        connection.sendall(part)
        assert read_until_closed(connection) == b""


def test_a_head_byte_by_byte_ends() -> None:
    with serving(ServiceLimits(header_seconds=0.5)) as client, client.connect() as connection:
        assert drip(connection, b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 1000) == b""


def test_a_slow_body_ends_with_408() -> None:
    with serving(ServiceLimits(body_seconds=0.5)) as client, client.connect() as connection:
        received = drip(connection, post(bytes(1000), length=1000))
        assert status_of(received) == 408
        assert b"application/problem+json" in received


def test_a_connection_that_sends_on_after_its_answer_ends() -> None:
    with serving(ServiceLimits(body_bytes=10, header_seconds=1.0)) as client, client.connect() as connection:
        connection.sendall(post(b"", length=1000))
        assert status_of(drip(connection, bytes(1000))) == 413


PAGE = {"index.html": bytes(50_000_000)}
"""More than the system takes from the service and keeps for a client that does not read."""
GET_PAGE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_an_answer_that_nobody_reads_ends() -> None:
    with serving(ServiceLimits(exchange_seconds=0.5), page=PAGE) as client, client.connect() as connection:
        connection.sendall(GET_PAGE)
        held_until_closed(connection)
        assert len(read_until_closed(connection)) < 50_000_000


def drip(connection: socket.socket, content: bytes) -> bytes:
    """Send ``content`` byte by byte, 100 a second, until the service closes the connection; what it said."""
    ended = threading.Event()

    def send() -> None:
        for byte in content:
            try:
                connection.send(bytes([byte]))
            except OSError:
                return
            if ended.wait(0.01):
                return

    sender = threading.Thread(target=send)
    sender.start()
    received = read_until_closed(connection)
    assert sender.is_alive() or len(content) < 100  # closed before all was sent
    ended.set()
    sender.join()
    return received


def held_until_closed(connection: socket.socket) -> None:
    """Read nothing until the service has closed the connection."""
    poll = partial(connection.send, b"x")

    def closed() -> bool:
        try:
            poll()
        except OSError:
            return True
        return False

    wait_until(closed)


def test_one_connection_too_many_closes_the_one_that_has_waited_longest(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(ServiceLimits(connections=4, header_seconds=1000.0)) as client, ExitStack() as stack:
        held = [stack.enter_context(client.connect()) for _ in range(4)]
        held[0].sendall(b"GET /healthz HT")  # a head that goes on for ever is no request
        for gone in held[:3]:
            held.append(stack.enter_context(client.connect()))
            assert read_until_closed(gone) == b""
        held[3].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert status_of(read_until_closed(held[3])) == 200
        for _ in range(50):
            stack.enter_context(client.connect())
        wait_until(lambda: client.ask("GET", "/healthz").status == 200)
    (line,) = capfd.readouterr().err.splitlines()  # however many there were
    assert "all 4 connections are taken" in line


def test_a_full_house_refuses_at_once_answers_health_and_recovers(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(ServiceLimits(requests=2, connections=5, last_seconds=0.1), page=PAGE) as client, ExitStack() as stack:
        slow = [stack.enter_context(client.connect()) for _ in range(2)]
        for connection in slow:
            connection.sendall(GET_PAGE)
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
        for _ in range(20):
            stack.enter_context(client.connect())
            assert_busy(client.ask("GET", "/v1/model"), "too many requests")
            assert client.ask("GET", "/healthz").status == 200
        for connection in slow:
            connection.close()
        wait_until(lambda: client.ask("GET", "/v1/model").status == 200)
        stack.enter_context(client.connect()).sendall(GET_PAGE)
        assert client.ask("GET", "/v1/model").status == 200
    # One line each; that the service stops does not wait for who reads nothing: uvicorn would say that it cancels.
    # After the time, and the id of the request that the line is about.
    first, second = sorted(line[24:].partition(" ")[2] for line in capfd.readouterr().err.splitlines())
    assert first == "2 requests are in progress: others are refused"
    assert second == "all 5 connections are taken: those that wait longest are closed"


def test_many_pipelined_requests_are_answered_in_turn() -> None:
    with serving() as client, client.connect() as connection:
        request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
        sender = threading.Thread(
            target=connection.sendall, args=((request + b"\r\n") * 999 + request + b"Connection: close\r\n\r\n",)
        )
        sender.start()
        assert read_until_closed(connection).count(b"HTTP/1.1 200 OK") == 1000
        sender.join()


CUTS: dict[str, Callable[[bytes], bytes]] = {
    "in the head": lambda content: post(content, len(content))[:40],
    "before the body": lambda content: post(b"", len(content)),
    "in the body": lambda content: post(content[:100], len(content)),
    "before the answer": lambda content: post(content, len(content)),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_connection_is_nobody_elses_trouble(content: bytes, cut: str, capfd: pytest.CaptureFixture[str]) -> None:
    with serving() as client:
        for _ in range(20):
            with client.connect() as connection:
                connection.sendall(CUTS[cut](content))
        assert client.predict(content).status == 200
    assert capfd.readouterr() == ("", "")


def test_what_was_accepted_is_answered_when_it_stops(content: bytes) -> None:
    gate = Gate()
    with ThreadPoolExecutor(3) as asking:
        with serving(ServiceLimits(workers=1), classifier=gate) as client:
            accepted = [asking.submit(client.predict, content) for _ in range(3)]
            wait_until(lambda: gate.waiting == 1)
            idle = client.connect()
            threading.Timer(0.5, gate.open.set).start()
        assert [answer.result().status for answer in accepted] == [200, 200, 200]
        assert read_until_closed(idle) == b""
        idle.close()
        with pytest.raises(ConnectionRefusedError):
            client.connect()


def test_what_takes_too_long_is_cut_when_it_stops(content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(ServiceLimits(shutdown_seconds=1)) as client:
        connection = client.connect()
        connection.sendall(post(content[:100], len(content)))
        wait_until(lambda: client.ask("GET", "/healthz").status == 200)
    received = read_until_closed(connection)
    connection.close()
    assert (status_of(received), b"the service is stopping" in received) == (503, True)
    assert len(capfd.readouterr().err.splitlines()) == 1  # uvicorn says how many
