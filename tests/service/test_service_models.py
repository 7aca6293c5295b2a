"""The HTTP service with models of other sizes and with a threshold."""

from dataclasses import replace
from pathlib import Path

import pytest
from service_helpers import serving

from cifar_edge import Classifier

CAT = Path(__file__).parents[2] / "docs" / "images" / "cat.png"


def test_a_model_of_another_size_with_a_threshold() -> None:
    pytest.importorskip("onnx")
    content = CAT.read_bytes()
    from make_tiny_model import METADATA, tiny_model

    metadata = replace(METADATA, size=48, threshold=1e6)
    classifier = Classifier(tiny_model(metadata.to_json(), input_shape=("batch", 48, 48, 3)))
    with serving(classifier=classifier) as client:
        (record,) = client.predict(content).json["predictions"]
        assert record == {"image": 0, **classifier.predict(content).to_record()}
        assert (record["label"], record["index"]) == ("unknown", None)
        model = client.ask("GET", "/v1/model").json
        assert (model["contract"], model["size"], model["threshold"]) == (2, 48, 1e6)
        schemas = client.ask("GET", "/openapi.json").json["components"]["schemas"]
        assert "unknown" in schemas["Prediction"]["properties"]["label"]["enum"]
