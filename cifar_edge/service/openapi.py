"""The OpenAPI 3.1.0 document of the service, written by hand; tests compare it with the service (schemathesis)."""

from collections.abc import Mapping, Sequence
from typing import Any

from cifar_edge import __version__
from cifar_edge.runtime.classifier import Classifier
from cifar_edge.runtime.results import ANSWER_FIELDS, CLASS_FIELDS, UNKNOWN
from cifar_edge.service.bodies import FIELD, FORM, RAW
from cifar_edge.service.limits import ServiceLimits
from cifar_edge.service.problems import MEDIA_TYPE, RETRY_SECONDS
from cifar_edge.spec import IMAGE_SIZES, MAX_CLASSES

Json = dict[str, Any]


def document(models: Mapping[str, Classifier], limits: ServiceLimits, secured: bool) -> Json:
    """The OpenAPI document of a service.

    Args:
        models: name -> model, the one that answers by default first.
        limits: its limits, which the document states.
        secured: whether ``/v1/`` needs a token.
    """
    schemas = _schemas(list(models.values()))
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
            "/v1/predict": {
                "post": _predict(limits, list(models)) | security | {"responses": guarded | _predict_responses(limits)}
            },
            "/v1/models": {
                "get": security
                | {
                    "operationId": "models",
                    "summary": "All models, as their files describe them; the first one answers by default.",
                    "responses": {"200": _json("The models.", "Models")} | guarded,
                }
            },
            "/v1/model": {
                "get": security
                | {
                    "operationId": "model",
                    "summary": "The model that answers by default, as its file describes it.",
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


def _predict(limits: ServiceLimits, names: Sequence[str]) -> Json:
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
                "description": "Number of classes to return, the most probable first; all if the model has fewer.",
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_CLASSES, "default": 1},
            },
            {
                "name": "model",
                "in": "query",
                "description": "Name of the model that answers.",
                "schema": {"enum": list(names), "default": names[0]},
            },
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
        "400": _problem("No body, a wrong form, too many images, a wrong `top`, an unknown model or query parameter."),
        "408": _problem(f"The body took more than {limits.body_seconds:g} seconds."),
        "413": _problem("The body is too large."),
        "415": _problem("The body is neither an image nor a form."),
        "422": unread,
    }


def _schemas(models: Sequence[Classifier]) -> Json:
    labels = list(dict.fromkeys(label for model in models for label in model.labels))
    most = max(len(model.labels) for model in models)
    thresholds = [model.threshold for model in models if model.threshold is not None]
    number = {"type": "integer", "minimum": 0, "description": "Number of the image in the request."}
    of_model: Json = {"label": {"enum": labels}, "index": {"maximum": most - 1}}
    named = {name: {**schema, **of_model.get(name, {})} for name, schema in CLASS_FIELDS.items()}
    answer = {name: {**schema, **of_model.get(name, {})} for name, schema in ANSWER_FIELDS.items()}
    if thresholds:
        least = f"{thresholds[0]:g}" if len(models) == 1 else "the model's threshold"
        answer["label"] = {
            "enum": [*labels, UNKNOWN],
            "description": f"{UNKNOWN} if the largest logit is below {least}.",
        }
        answer["index"] = {**answer["index"], "type": ["integer", "null"]}
    error = {"image": number, "error": {"type": "string", "description": "Why it could not be read."}}
    problem = {"title": {"type": "string"}, "status": {"type": "integer"}, "detail": {"type": "string"}}
    top = {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/ClassScore"}}
    either = [{"$ref": "#/components/schemas/Prediction"}, {"$ref": "#/components/schemas/ImageError"}]
    numbers = {"parameters": "integer", "macs": "integer", "test_images": "integer", "temperature": "number"}
    texts = ("model", "weights_sha256", "created", "input_layout", "pixel_map", "resize_rule")
    text = {"type": "string"}
    about = {
        **dict.fromkeys(texts, text),
        **{name: {"type": kind} for name, kind in numbers.items()},
        "precision": {"enum": ["fp32", "int8"]},
        "labels": {"type": "array", "items": text},
        "test_accuracy": {"type": ["number", "null"]},
        "versions": {"type": "object", "additionalProperties": text},
        "contract": {"type": "integer"},
    }
    optional = {
        "size": {"enum": list(IMAGE_SIZES)},
        "threshold": {"type": ["number", "null"]},
        "normalization": {"type": "string"},
    }
    return {
        "ClassScore": _object(named),
        "Prediction": _object({"image": number, **answer, "top": top}),
        "ImageError": _object(error),
        "Predictions": _object(
            {
                "name": {"type": "string"},
                "model": {"type": "string"},
                "precision": {"enum": ["fp32", "int8"]},
                "predictions": {"type": "array", "minItems": 1, "items": {"oneOf": either}},
            }
        ),
        "Problem": _object(problem),
        "Unread": _object(
            {**problem, "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/ImageError"}}}
        ),
        "Model": _object(about, optional),
        "Models": _object(
            {"models": {"type": "array", "minItems": 1, "items": _object({"name": text, **about}, optional)}}
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
