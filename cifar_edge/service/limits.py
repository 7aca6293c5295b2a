"""The limits of the service. They keep its memory and time independent of the number of clients."""

from dataclasses import dataclass

from cifar_edge.runtime.limits import Limits

IMAGE = Limits(memory=256 << 20, seconds=1.0)
"""An eighth of the memory that the command line allows, and a second, since other clients may have to wait for it."""


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """The limits of a service; docs/serve.md says how it responds when one is exceeded.

    Attributes:
        workers: threads that decode and classify.
        waiting: complete requests that wait for a worker; further ones are refused.
        images: images in one request.
        body_bytes: bytes of one request's body.
        held_bytes: bytes of the bodies of all requests together, from their first byte to the response.
        image: memory and time to decode one image.
        requests: requests in progress, from the head to the last byte of the response; further ones are refused.
        connections: open connections. A further one closes the one that has waited longest for a request. Each takes a
            file descriptor (see `cifar_edge.service.server.fitted`).
        header_seconds: time to send a request's head, from the connection or the last response on.
        body_seconds: time to send its body.
        answer_seconds: time to classify its images, once the body is read.
        exchange_seconds: time from the last header to the last byte of the response, which a client may read slowly.
        last_seconds: time for clients to read the rest of a response when the service stops.
        shutdown_seconds: time to finish accepted requests when the service stops.
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
