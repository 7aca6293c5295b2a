"""The ASGI application: its routes and their handlers. docs/serve.md is its manual."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cifar_edge.runtime.classifier import Classifier
from cifar_edge.service import request_id
from cifar_edge.service.access import Access, Authorized, Shield
from cifar_edge.service.answers import Answers
from cifar_edge.service.bodies import Bodies, boundary_of, images_of
from cifar_edge.service.limits import ServiceLimits
from cifar_edge.service.log import Rarely
from cifar_edge.service.openapi import document
from cifar_edge.service.page import page_routes
from cifar_edge.service.pool import Pool
from cifar_edge.service.problems import HANDLERS, Problem, busy
from cifar_edge.spec import MAX_CLASSES

HEALTH = "/healthz"


class Service:
    """Answers requests with one model or several.

    Args:
        models: name -> model. The first one answers where a request names none; each is used by several threads at
            once, which onnxruntime allows.
        limits: limits on size, number and time.
        access: who may use it.
        page: the files of the web page for ``/``, name -> content; None shows how to get them.
    """

    def __init__(
        self,
        models: Mapping[str, Classifier],
        limits: ServiceLimits,
        access: Access | None = None,
        page: Mapping[str, bytes] | None = None,
    ) -> None:
        access = access or Access()
        self._models, self._limits = dict(models), limits
        self._bodies, self._pool = Bodies(limits), Pool(limits)
        self._default = next(iter(self._models))
        self._document = document(self._models, limits, secured=access.token is not None)
        app: ASGIApp = _Door(self._starlette(access, page), limits)
        if access.origins:  # outside of whatever refuses, so that pages of these origins may read every refusal
            app = CORSMiddleware(
                app,
                allow_origins=access.origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", request_id.HEADER],
                expose_headers=[request_id.HEADER, "Retry-After"],
            )
        self.app: ASGIApp = Shield(app, access)
        """The ASGI application."""

    def close(self) -> bool:
        """Stop the threads after the server has stopped. False if one is still decoding an abandoned image."""
        return self._pool.close()

    def _starlette(self, access: Access, page: Mapping[str, bytes] | None) -> Starlette:
        guards = [Middleware(Authorized, access)]
        routes: list[BaseRoute] = [
            Route("/v1/predict", _taking(self._predict, "top", "model"), methods=["POST"], middleware=guards),
            Route("/v1/models", _taking(self._list_models), middleware=guards),
            Route("/v1/model", _taking(self._describe_model), middleware=guards),
            Route(HEALTH, _taking(_healthy)),
            Route("/openapi.json", _taking(self._openapi)),
            *page_routes(page, guards),
        ]
        app = Starlette(routes=routes, exception_handlers=HANDLERS)
        app.router.redirect_slashes = False  # one URL for each resource
        return app

    async def _predict(self, request: Request) -> Response:
        boundary = boundary_of(request.headers.get("content-type"))
        top, name, model = _top(request), *self._model(request)
        async with self._bodies.read(request) as body:
            images = (lambda: [body]) if boundary is None else partial(images_of, body, boundary, self._limits.images)
            answers = Answers(model, images, top, self._limits.image)
            await self._pool.run(answers)
        predictions = answers.records
        if all("error" in record for record in predictions):
            detail = "no image could be read; predictions has the reason for each"
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, predictions=predictions)
        about = model.metadata
        said = {"name": name, "model": about.model, "precision": about.precision, "predictions": predictions}
        return JSONResponse(said)

    def _model(self, request: Request) -> tuple[str, Classifier]:
        name = request.query_params.get("model", self._default)
        model = self._models.get(name)
        if model is None:
            raise Problem(HTTPStatus.BAD_REQUEST, "no model of this service has that name; /v1/models lists them")
        return name, model

    async def _list_models(self, request: Request) -> Response:
        models = [{"name": name, **model.metadata.to_record()} for name, model in self._models.items()]
        return JSONResponse({"models": models})

    async def _describe_model(self, request: Request) -> Response:
        return JSONResponse(self._models[self._default].metadata.to_record())

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(self._document)


class _Door:
    """Refuses requests while ``limits.requests`` are in progress, except for `HEALTH`."""

    def __init__(self, app: ASGIApp, limits: ServiceLimits) -> None:
        self._app, self._most, self._inside = app, limits.requests, 0
        self._full = Rarely(f"{self._most:,} requests are in progress: others are refused")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._inside >= self._most and scope["path"] != HEALTH:
            self._full.say()
            response = busy("too many requests are in progress; try again").response()
            response.headers["Connection"] = "close"
            await response(scope, receive, send)
            return
        self._inside += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1


Endpoint = Callable[[Request], Awaitable[Response]]


def _taking(endpoint: Endpoint, *known: str) -> Endpoint:
    """``endpoint`` for requests with only these query parameters, each at most once."""
    detail = f"known query parameters: {', '.join(known)}" if known else "this address takes no query parameters"

    async def checked(request: Request) -> Response:
        given = [name for name, _ in request.query_params.multi_items()]
        if not set(given) <= set(known):
            raise Problem(HTTPStatus.BAD_REQUEST, f"unknown query parameter; {detail}")
        if len(given) != len(set(given)):
            raise Problem(HTTPStatus.BAD_REQUEST, f"a query parameter occurs twice; {detail}")
        return await endpoint(request)

    return checked


async def _healthy(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _top(request: Request) -> int:
    given: Any = request.query_params.get("top", "1")
    # int() alone would accept "1_0", " 1" and digits of other scripts.
    if given.isascii() and given.isdigit() and len(given) <= len(str(MAX_CLASSES)) and 1 <= int(given) <= MAX_CLASSES:
        return int(given)
    raise Problem(HTTPStatus.BAD_REQUEST, f"top must be a whole number from 1 to {MAX_CLASSES}")
