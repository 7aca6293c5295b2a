"""What the service takes, and what it holds at most: nothing in it grows with the number of its clients."""

from dataclasses import dataclass

from cifar_edge.runtime.limits import Limits

IMAGE = Limits(memory=256 << 20, seconds=1.0)
"""An eighth of the memory that the command line allows, and as long as another client may have to wait for it."""


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """The bounds of one service; docs/serve.md says what a client sees when it meets one.

    Attributes:
        workers: threads that decode and classify.
        waiting: requests, read whole, that wait for a worker; one more is refused.
        images: images of one request.
        body_bytes: bytes of one request's body.
        held_bytes: bytes of the bodies of all requests together, from their first byte to their answer.
        image: memory and time to decode one image.
        requests: requests in progress, from the head to the last byte of the answer; one more is refused.
        connections: connections; one more, and the one that has waited longest for a request is closed. Each takes one
            file descriptor, and nothing else in the service grows with them (see `cifar_edge.service.server.fitted`).
        header_seconds: time to send a request's line and headers, from the connection or the last answer on.
        body_seconds: time to send its body.
        answer_seconds: time to wait for its answer, once it is read.
        exchange_seconds: time from the last header to the last byte of the answer, which a client may read slowly.
        last_seconds: time for clients to read what they were being sent, once the service is told to stop.
        shutdown_seconds: time to finish what was accepted, once the service is told to stop.
    """

    workers: int = 1
    waiting: int = 64
    images: int = 16
    body_bytes: int = 16 << 20
    held_bytes: int = 64 << 20
    image: Limits = IMAGE
    requests: int = 512
    connections: int = 2048
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    answer_seconds: float = 30.0
    exchange_seconds: float = 120.0
    last_seconds: float = 1.0
    shutdown_seconds: int = 75
