"""A service on a free port, in a thread of this process, and a client that keeps what it sees."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from threading import Event
from time import monotonic, sleep
from typing import Any

from tiny import TINY

from cifar_edge import Classifier, Prediction
from cifar_edge.runtime.images import ImageSource
from cifar_edge.runtime.limits import DEFAULT_LIMITS, Limits
from cifar_edge.service import server
from cifar_edge.service.access import Access
from cifar_edge.service.app import Service
from cifar_edge.service.limits import ServiceLimits

PNG = {"Content-Type": "image/png"}
BOUNDARY = "a-boundary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@dataclass(frozen=True)
class Answer:
    """One answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self, status: int) -> str:
        """The detail of the problem that this answer is, with that status."""
        assert self.status == status, self.body
        assert self.headers["content-type"] == "application/problem+json"
        assert self.json["status"] == status
        assert self.json["title"]
        detail: str = self.json["detail"]
        assert detail.isprintable()
        return detail


@dataclass(frozen=True)
class Client:
    """Asks the service at ``port`` of this machine, each time on a connection of its own."""

    port: int

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )
        finally:
            connection.close()

    def predict(self, body: bytes, headers: Mapping[str, str] = PNG, query: str = "") -> Answer:
        return self.ask("POST", f"/v1/predict{query}", body, headers)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


def form(parts: Sequence[bytes], name: str = "image", filename: str | None = "x.png") -> bytes:
    """A form with ``parts`` as files in the field ``name``; as plain fields if ``filename`` is None."""
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
    return b"".join(head + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()


def post(body: bytes, length: int | None = None, extra: str = "") -> bytes:
    """The bytes of a request that posts ``body``, with that Content-Length or none."""
    lines = ["POST /v1/predict HTTP/1.1", "Host: 127.0.0.1", "Content-Type: image/png"]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, *([extra] if extra else []), "", ""]).encode() + body


def read_until_closed(connection: socket.socket) -> bytes:
    """What the service sends until it closes the connection."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def wait_until(condition: Any, seconds: float = 20.0) -> None:
    """Wait for ``condition()``; fail if it does not come true."""
    end = monotonic() + seconds
    while not condition():
        assert monotonic() < end, "waited in vain"
        sleep(0.01)


class Gate(Classifier):
    """A classifier whose images wait until the gate is open."""

    def __init__(self) -> None:
        super().__init__(TINY)
        self.open = Event()
        self.waiting = 0

    def predict(self, image: ImageSource, name: str | None = None, limits: Limits = DEFAULT_LIMITS) -> Prediction:
        self.waiting += 1
        assert self.open.wait(30)
        return super().predict(image, name, limits)


class Broken(Classifier):
    """A classifier with a defect."""

    def __init__(self) -> None:
        super().__init__(TINY)

    def predict(self, image: ImageSource, name: str | None = None, limits: Limits = DEFAULT_LIMITS) -> Prediction:
        raise ZeroDivisionError


@contextmanager
def serving(
    limits: ServiceLimits | None = None,
    access: Access | None = None,
    page: Mapping[str, bytes] | None = None,
    classifier: Classifier | None = None,
    others: Mapping[str, Classifier] | None = None,
) -> Iterator[Client]:
    """A service that runs until the context ends, by default with the model of tests/files/tiny.onnx."""
    limits = limits or ServiceLimits()
    models = {"tiny": classifier or Classifier(TINY), **(others or {})}
    service = Service(models, limits, access, page)
    with server.listen("127.0.0.1", 0) as listener:
        running = server.configured(service, limits, quiet=True)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: running.started)
            yield Client(listener.getsockname()[1])
        finally:
            running.should_exit = True
            thread.join()
            service.close()
