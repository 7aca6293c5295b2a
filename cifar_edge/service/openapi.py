"""The OpenAPI 3.1.0 document of the service, written by hand; tests compare it with the service (schemathesis)."""

from collections.abc import Sequence
from typing import Any

from cifar_edge import __version__
from cifar_edge.runtime.results import ANSWER_FIELDS, CLASS_FIELDS, UNKNOWN
from cifar_edge.service.bodies import FIELD, FORM, RAW
from cifar_edge.service.limits import ServiceLimits
from cifar_edge.service.problems import MEDIA_TYPE, RETRY_SECONDS
from cifar_edge.spec import IMAGE_SIZES

MOST_CLASSES = 1000
"""The most classes a client may ask for; a model may have fewer."""

Json = dict[str, Any]


def document(labels: Sequence[str], limits: ServiceLimits, secured: bool, threshold: float | None = None) -> Json:
    """The OpenAPI document of a service.

    Args:
        labels: the class names of its model.
        limits: its limits, which the document states.
        secured: whether ``/v1/`` needs a token.
        threshold: of its model, on the largest logit; None for none.
    """
    schemas = _schemas(labels, threshold)
    components: Json = {"schemas": schemas}
    if secured:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    security: Json = {"security": [{"token": []}]} if secured else {}
    refused = {
        "400": _problem("There is a query parameter, and this path takes none."),
        "403": _problem("The request comes from a page of another site."),
        "421": _problem("The Host header does not name this service."),
        "503": _problem("The service is busy.") | {"headers": {"Retry-After": _header(str(RETRY_SECONDS))}},
    }
    unauthorized = _problem("The token is missing or wrong.") | {"headers": {"WWW-Authenticate": _header()}}
    guarded = {**refused, "401": unauthorized} if secured else refused
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cifar-edge",
            "version": __version__,
            "summary": "Classifies images with a small network.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/predict": {"post": _predict(limits) | security | {"responses": guarded | _predict_responses(limits)}},
            "/v1/model": {
                "get": security
                | {
                    "operationId": "model",
                    "summary": "The model, as its file describes it.",
                    "responses": {"200": _json("The model.", "Model")} | guarded,
                }
            },
            "/healthz": {
                "get": {
                    "operationId": "health",
                    "summary": "Whether the service is up.",
                    "responses": {"200": _json("The service is up.", "Health")} | refused,
                }
            },
            "/openapi.json": {
                "get": {
                    "operationId": "openapi",
                    "summary": "This document.",
                    "responses": {"200": {"description": "This document.", "content": {"application/json": {}}}}
                    | refused,
                }
            },
        },
        "components": components,
    }


def _predict(limits: ServiceLimits) -> Json:
    image = {"type": "string", "contentMediaType": "image/*", "minLength": 1}
    form = {
        "type": "object",
        "required": [FIELD],
        "additionalProperties": False,
        "properties": {
            FIELD: {
                "type": "array",
                "minItems": 1,
                "maxItems": limits.images,
                "items": {"type": "string", "format": "binary"},
            }
        },
    }
    return {
        "operationId": "predict",
        "summary": "Classify one image, or several.",
        "description": "PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000, ICO, PBM, PGM and PPM: one image as the body "
        f"itself, or up to {limits.images} as files in the field `{FIELD}` of a form, together at most "
        f"{limits.body_bytes} bytes. Decoding an image may take at most {limits.image.memory} bytes of memory and "
        f"{limits.image.seconds:g} seconds.",
        "parameters": [
            {
                "name": "top",
                "in": "query",
                "description": "Number of classes to return, the most probable first.",
                "schema": {"type": "integer", "minimum": 1, "maximum": MOST_CLASSES, "default": 1},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {FORM: {"schema": form}, RAW: {"schema": image}, "image/*": {"schema": image}},
        },
    }


def _predict_responses(limits: ServiceLimits) -> Json:
    unread = _json("None of the images could be read.", "Unread", MEDIA_TYPE)
    return {
        "200": _json("At least one image was classified; the others have an error.", "Predictions"),
        "400": _problem("No body, a wrong form, too many images, a wrong `top`, or an unknown query parameter."),
        "408": _problem(f"The body took more than {limits.body_seconds:g} seconds."),
        "413": _problem("The body is too large."),
        "415": _problem("The body is neither an image nor a form."),
        "422": unread,
    }


def _schemas(labels: Sequence[str], threshold: float | None) -> Json:
    number = {"type": "integer", "minimum": 0, "description": "Number of the image in the request."}
    of_model: Json = {"label": {"enum": list(labels)}, "index": {"maximum": len(labels) - 1}}
    named = {name: {**schema, **of_model.get(name, {})} for name, schema in CLASS_FIELDS.items()}
    answer = {name: {**schema, **of_model.get(name, {})} for name, schema in ANSWER_FIELDS.items()}
    if threshold is not None:
        answer["label"] = {
            "enum": [*labels, UNKNOWN],
            "description": f"{UNKNOWN} if the largest logit is below {threshold:g}.",
        }
        answer["index"] = {**answer["index"], "type": ["integer", "null"]}
    error = {"image": number, "error": {"type": "string", "description": "Why it could not be read."}}
    problem = {"title": {"type": "string"}, "status": {"type": "integer"}, "detail": {"type": "string"}}
    top = {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/ClassScore"}}
    either = [{"$ref": "#/components/schemas/Prediction"}, {"$ref": "#/components/schemas/ImageError"}]
    numbers = {"parameters": "integer", "macs": "integer", "test_images": "integer", "temperature": "number"}
    texts = ("model", "weights_sha256", "created", "input_layout", "pixel_map", "resize_rule")
    return {
        "ClassScore": _object(named),
        "Prediction": _object({"image": number, **answer, "top": top}),
        "ImageError": _object(error),
        "Predictions": _object(
            {
                "model": {"type": "string"},
                "precision": {"enum": ["fp32", "int8"]},
                "predictions": {"type": "array", "minItems": 1, "items": {"oneOf": either}},
            }
        ),
        "Problem": _object(problem),
        "Unread": _object(
            {**problem, "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/ImageError"}}}
        ),
        "Model": _object(
            {
                **{name: {"type": "string"} for name in texts},
                **{name: {"type": kind} for name, kind in numbers.items()},
                "precision": {"enum": ["fp32", "int8"]},
                "labels": {"type": "array", "items": {"type": "string"}},
                "test_accuracy": {"type": ["number", "null"]},
                "versions": {"type": "object", "additionalProperties": {"type": "string"}},
                "contract": {"type": "integer"},
            },
            optional={"size": {"enum": list(IMAGE_SIZES)}, "threshold": {"type": ["number", "null"]}},
        ),
        "Health": _object({"status": {"const": "ok"}}),
    }


def _object(properties: Json, optional: Json | None = None) -> Json:
    return {"type": "object", "required": list(properties), "properties": {**properties, **(optional or {})}}


def _json(description: str, schema: str, media_type: str = "application/json") -> Json:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": description, "content": {media_type: {"schema": reference}}}


def _problem(description: str) -> Json:
    return _json(description, "Problem", MEDIA_TYPE)


def _header(example: str = "Bearer") -> Json:
    return {"schema": {"type": "string", "example": example}}
