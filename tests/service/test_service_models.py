"""The HTTP service with models of other sizes and with a threshold."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from service_helpers import serving
from tiny import TINY

from cifar_edge import Classifier
from cifar_edge.cli.main import main

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


def test_a_request_names_one_of_several_models() -> None:
    content = CAT.read_bytes()
    models = {name: Classifier(name) for name in ("gn-cnn", "gn-cnn-nano")}
    with serving(classifier=models["gn-cnn"], others={"gn-cnn-nano": models["gn-cnn-nano"]}) as client:
        listed = client.ask("GET", "/v1/models").json["models"]
        assert [(each["name"], each["model"]) for each in listed] == [
            ("tiny", "gn-cnn"),
            ("gn-cnn-nano", "gn-cnn-nano"),
        ]
        assert listed[0] == {"name": "tiny", **client.ask("GET", "/v1/model").json}
        for query, name, model in (
            ("", "tiny", "gn-cnn"),
            ("?model=tiny", "tiny", "gn-cnn"),
            ("?top=2&model=gn-cnn-nano", "gn-cnn-nano", "gn-cnn-nano"),
        ):
            answer = client.predict(content, query=query).json
            (record,) = answer["predictions"]
            assert (answer["name"], answer["model"]) == (name, model)
            assert record["score"] == models[model].predict(content).score
        for query in ("?model=", "?model=gn-cnn"):
            assert "/v1/models lists them" in client.predict(content, query=query).problem(400)
        (operation,) = client.ask("GET", "/openapi.json").json["paths"]["/v1/predict"].values()
        (parameter,) = (each for each in operation["parameters"] if each["name"] == "model")
        assert parameter["schema"] == {"enum": ["tiny", "gn-cnn-nano"], "default": "tiny"}


def test_the_command_serves_several_models_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = CliRunner().invoke(main, ["serve", "gn-cnn", "gn-cnn", "--port", "0"])
    assert refused.exit_code == 2
    assert "two models are called 'gn-cnn'" in refused.stderr
    (tmp_path / "pets").mkdir()
    shutil.copy(TINY, tmp_path / "pets" / "pets.int8.onnx")
    monkeypatch.chdir(tmp_path / "pets")
    refused = CliRunner().invoke(main, ["serve", ".", "../pets/", "--port", "0"])
    assert "two models are called 'pets'" in refused.stderr
    refused = CliRunner().invoke(main, ["web", "gn-cnn", "gn-cnn", "--out", "never"])
    assert (refused.exit_code, "a model is given twice" in refused.stderr) == (2, True)
