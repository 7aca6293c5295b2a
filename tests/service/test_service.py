"""The HTTP service: every address, every form of a request, every error, over real connections."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner
from image_helpers import corpus
from service_helpers import BOUNDARY, FORM, PNG, Answer, Broken, Client, form, post, read_until_closed, serving
from tiny import TINY

from cifar_edge import Classifier
from cifar_edge.cli.main import main
from cifar_edge.service.access import SECURITY_HEADERS
from cifar_edge.service.limits import ServiceLimits
from cifar_edge.service.openapi import document


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with serving(ServiceLimits(images=3, body_bytes=100_000)) as client:
        yield client


@pytest.fixture(scope="module")
def contents() -> list[bytes]:
    return [path.read_bytes() for path in sorted((Path(__file__).parents[2] / "docs" / "images").glob("*.png"))]


def expected(number: int, content: bytes, top: int = 1) -> dict[str, object]:
    answer = Classifier(TINY).predict(content)
    return {
        "image": number,
        "label": answer.label,
        "index": answer.index,
        "score": answer.score,
        "top": [asdict(each) for each in answer.top(top)],
    }


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/anything; x=y", "application/octet-stream"])
def test_one_image_as_the_body(client: Client, contents: list[bytes], kind: str) -> None:
    answer = client.predict(contents[0], {"Content-Type": kind}, "?top=3")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {
        "name": "tiny",
        "model": "tiny",
        "precision": "fp32",
        "predictions": [expected(0, contents[0], 3)],
    }


@pytest.mark.parametrize(
    "content",
    [b"P5 SECRET-TOKEN 1 255 ", b"P6\n2 2\n255x1SECRET-TOKEN\n", b"GIF89aSECRET-TOKEN", b"qoifSECRET-TOKEN"],
)
def test_nothing_of_an_image_is_repeated(client: Client, content: bytes) -> None:
    answer = client.predict(content)
    answer.problem(422)
    (said,) = answer.json["predictions"]
    assert said["error"].startswith("image 0: ")
    assert b"SECRET" not in answer.body
    assert b"TOKEN" not in answer.body


def test_no_content_type_means_an_image(client: Client, contents: list[bytes]) -> None:
    assert client.predict(contents[0], {}).json["predictions"] == [expected(0, contents[0])]


def test_a_body_of_unknown_length(client: Client, contents: list[bytes]) -> None:
    with client.connect() as connection:
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (contents[0][:100], contents[0][100:]))
        head = (
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        connection.sendall(head + chunks + b"0\r\n\r\n")
        received = connection.makefile("rb").read()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(received.partition(b"\r\n\r\n")[2])["predictions"] == [expected(0, contents[0])]


def test_several_images_as_a_form(client: Client, contents: list[bytes]) -> None:
    answer = client.predict(form(contents[:3]), FORM)
    assert answer.json["predictions"] == [expected(number, content) for number, content in enumerate(contents[:3])]


def test_what_cannot_be_read_does_not_stop_the_others(client: Client, contents: list[bytes]) -> None:
    answer = client.predict(form([b"not an image", contents[0], contents[1][:200]]), FORM)
    assert answer.status == 200
    first, second, third = answer.json["predictions"]
    assert (first["image"], "not an image" in first["error"]) == (0, True)
    assert second == expected(1, contents[0])
    assert (third["image"], "truncated" in third["error"]) == (2, True)


@pytest.mark.parametrize(("body", "headers"), [(b"not an image", PNG), (form([b"not an image", b""]), FORM)])
def test_nothing_that_can_be_read_is_a_problem(client: Client, body: bytes, headers: dict[str, str]) -> None:
    answer = client.predict(body, headers)
    assert "no image could be read" in answer.problem(422)
    assert "not an image" in answer.json["predictions"][0]["error"]


def test_no_file_name_comes_back(client: Client, contents: list[bytes]) -> None:
    for content in (contents[0], b"not an image"):
        assert b"secret" not in client.predict(form([content], filename="secret.png"), FORM).body


@pytest.mark.parametrize(
    ("body", "headers", "status", "detail"),
    [
        (b"", PNG, 400, "no body"),
        (b"x", {"Content-Type": "text/plain"}, 415, "-F image=@FILE"),
        (b"x", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "multipart/form-data"),
        (b"x", {"Content-Type": "multipart/form-data"}, 400, "boundary"),
        (b"x", {"Content-Type": "multipart/form-data; boundary=" + "b" * 300}, 400, "not multipart/form-data"),
        (b"x", FORM, 400, "not multipart/form-data"),
        (f"--{BOUNDARY}--\r\n".encode(), FORM, 400, "no file"),
        (form([b"x"])[:-30], FORM, 400, "truncated"),
        (form([b"x"], name="other"), FORM, 400, "another field than 'image'"),
        (form([b"x"], filename=None), FORM, 400, "not a file"),
        (form([b"x"] * 4), FORM, 400, "more than 3 files"),
        (bytes(100_001), PNG, 413, "100,000 bytes"),
        (form([b"x"]).replace(b"\r\n\r\n", b"\r\nX: " + b"y" * 9000 + b"\r\n\r\n"), FORM, 400, "not multipart"),
    ],
)
def test_a_wrong_request_is_a_problem(
    client: Client, body: bytes, headers: dict[str, str], status: int, detail: str
) -> None:
    assert detail in client.predict(body, headers).problem(status)


@pytest.mark.parametrize("top", ["0", "-1", "1001", "x", "", "1.0", "1_0", "%20" + "1", "%D9%A1", "9" * 5000])
def test_top_is_a_whole_number(client: Client, contents: list[bytes], top: str) -> None:
    assert "top must be" in client.predict(contents[0], query=f"?top={top}").problem(400)


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        ("POST", "/v1/predict", "known query parameters: top"),
        ("GET", "/v1/model", "takes no query parameters"),
        ("GET", "/healthz", "takes no query parameters"),
        ("GET", "/openapi.json", "takes no query parameters"),
    ],
)
def test_a_query_parameter_that_is_not_heeded_is_refused(
    client: Client, contents: list[bytes], method: str, path: str, known: str
) -> None:
    body = contents[0] if method == "POST" else None
    for query in ("threshold=0.9", "x", "Top=1", "top=1&threshold=0.9", "%74hreshold=0.9"):
        detail = client.ask(method, f"{path}?{query}", body).problem(400)
        assert (known in detail, "unknown" in detail, "hreshold" in detail) == (True, True, False)
    for query in ("", "&"):
        assert client.ask(method, f"{path}?{query}", body).status == 200


def test_top_is_said_once(client: Client, contents: list[bytes]) -> None:
    assert "twice" in client.predict(contents[0], query="?top=1&top=2").problem(400)
    assert len(client.predict(contents[0], query="?%74op=2").json["predictions"][0]["top"]) == 2


def test_top_may_be_more_than_there_are_classes(client: Client, contents: list[bytes]) -> None:
    """As on the command line; and whoever asks learns it from the description of the parameter, and from the help."""
    assert len(client.predict(contents[0], query="?top=1000").json["predictions"][0]["top"]) == 10
    top, _ = client.ask("GET", "/openapi.json").json["paths"]["/v1/predict"]["post"]["parameters"]
    assert "all if the model has fewer" in top["description"]
    assert "all if the model has fewer" in " ".join(CliRunner().invoke(main, ["predict", "--help"]).stdout.split())


def test_a_connection_serves_again_after_a_problem(client: Client, contents: list[bytes]) -> None:
    request = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
    with client.connect() as connection:
        connection.sendall(request % (200_000, bytes(200_000)) + request % (len(contents[0]), contents[0]))
        file = connection.makefile("rb")
        for status in (b"413", b"200"):
            assert file.readline().split()[1] == status
            lines = iter(file.readline, b"\r\n")
            length = next(int(line.split()[1]) for line in list(lines) if line.startswith(b"content-length"))
            file.read(length)


def test_the_model_is_described(client: Client) -> None:
    answer = client.ask("GET", "/v1/model")
    assert (answer.status, answer.json) == (200, json.loads(Classifier(TINY).metadata.to_json()))


@pytest.mark.parametrize("given", [None, "", "x" * 65, "a b", "a/b", "\xe4", "deploy-7_of.9"])
def test_every_answer_has_the_id_of_its_request(client: Client, given: str | None) -> None:
    """The client's own if it is a plain word; else one of ours, another each time."""
    headers = {} if given is None else {"X-Request-ID": given}
    ids = [client.ask("GET", path, headers=headers).headers["x-request-id"] for path in ("/healthz", "/nothing")]
    if given == "deploy-7_of.9":
        assert ids == [given, given]
    else:
        assert all(re.fullmatch("[0-9a-f]{16}", each) for each in ids)
        assert ids[0] != ids[1]


def test_a_defect_is_told_in_the_log_with_the_id(contents: list[bytes], capfd: pytest.CaptureFixture[str]) -> None:
    with serving(classifier=Broken()) as client:
        answer = client.predict(contents[0], PNG | {"X-Request-ID": "deploy-7"})
    assert answer.problem(500) == "internal error; see the log of the service"
    logged = capfd.readouterr().err
    assert re.search(r"^\S+ \S+ deploy-7 .*Exception in ASGI application", logged, re.MULTILINE)
    assert "ZeroDivisionError" in logged


def test_health_and_start_page(client: Client) -> None:
    assert client.ask("GET", "/healthz").json == {"status": "ok"}
    assert client.ask("HEAD", "/healthz").status == 200
    page = client.ask("GET", "/")
    assert page.headers["content-type"].startswith("text/html")
    assert b"cifar-edge web --out DIR" in page.body


def test_its_own_description(client: Client) -> None:
    described = client.ask("GET", "/openapi.json").json
    models = {"tiny": Classifier(TINY)}
    assert described == json.loads(
        json.dumps(document(models, ServiceLimits(images=3, body_bytes=100_000), secured=False))
    )
    assert set(described["paths"]) == {"/v1/predict", "/v1/models", "/v1/model", "/healthz", "/openapi.json"}
    names = set(re.findall('"#/components/schemas/(.*?)"', json.dumps(described)))
    assert names <= set(described["components"]["schemas"])


@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/healthz/", "/v1/model/"])
def test_what_is_not_there(client: Client, path: str) -> None:
    answer = client.ask("GET", path)
    answer.problem(404)
    assert "allow" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "allowed", "detail"),
    [
        ("GET", "/v1/predict", "POST", "/v1/predict takes only POST; send the request with POST"),
        ("PUT", "/v1/predict?top=2", "POST", "/v1/predict takes only POST; send the request with POST"),
        ("DELETE", "/v1/model", "GET, HEAD", "/v1/model takes only GET and HEAD; send the request with GET"),
        ("POST", "/healthz", "GET, HEAD", "/healthz takes only GET and HEAD; send the request with GET"),
        ("POST", "/", "GET, HEAD", "/ takes only GET and HEAD; send the request with GET"),
    ],
)
def test_another_method_is_told_the_one_that_works(
    client: Client, method: str, path: str, allowed: str, detail: str
) -> None:
    answer = client.ask(method, path)
    assert answer.problem(405) == detail
    assert answer.headers["allow"] == allowed


def test_head_is_answered_without_a_body(client: Client) -> None:
    healthy, wrong = client.ask("HEAD", "/healthz"), client.ask("HEAD", "/v1/predict")
    assert (healthy.status, healthy.body) == (200, b"")
    assert (wrong.status, wrong.body, wrong.headers["allow"]) == (405, b"", "POST")


@pytest.mark.parametrize("path", ["/", "/v1/model", "/nothing", "/openapi.json"])
def test_every_answer_has_the_security_headers(client: Client, path: str) -> None:
    answer = client.ask("GET", path)
    assert {name.lower(): value for name, value in SECURITY_HEADERS.items()}.items() <= answer.headers.items()
    assert "server" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers


def test_what_is_not_http_is_refused_as_everything_is(client: Client) -> None:
    for nonsense in (b"nonsense\r\n\r\n", bytes(range(256)) * 10, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"):
        with client.connect() as connection:
            connection.sendall(nonsense)
            head, _, body = read_until_closed(connection).partition(b"\r\n\r\n")
        status, *headers = head.decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in headers)}
        answer = Answer(int(status.split()[1]), fields, body)
        assert "not HTTP/1.1" in answer.problem(400)
        assert {name.lower(): value for name, value in SECURITY_HEADERS.items()}.items() <= fields.items()
        assert fields["connection"] == "close"
        assert fields["date"]
    with client.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + b"X: " + bytes(200_000))
        assert connection.makefile("rb").readline().split()[1:2] in ([b"400"], [])
    assert client.ask("GET", "/healthz").status == 200


def test_a_body_in_very_many_chunks_is_refused(client: Client) -> None:
    for number, status in ((4_000, 422), (10_000, 400)):
        with client.connect() as connection:
            connection.sendall(post(b"1\r\nx\r\n" * number + b"0\r\n\r\n", extra="Transfer-Encoding: chunked"))
            assert int(connection.makefile("rb").readline().split()[1]) == status


def test_a_body_with_two_lengths_is_refused_and_what_follows_unheard(client: Client) -> None:
    smuggled = b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for body in (b"0\r\n\r\n" + smuggled, smuggled):
        with client.connect() as connection:
            connection.sendall(post(body, length=len(body), extra="Transfer-Encoding: chunked"))
            assert re.findall(rb"HTTP/1.1 (\d+)", read_until_closed(connection)) == [b"400"]


def test_damage_in_the_middle_of_a_body_ends_the_connection(client: Client) -> None:
    with client.connect() as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
        )
        assert connection.makefile("rb").readline().startswith(b"HTTP/1.1 400")
    assert client.ask("GET", "/healthz").status == 200


def test_the_page_is_shown() -> None:
    page = {"index.html": b"<title>The page</title>", "main.js": b"1;" * 100_000, "x.wasm": b"", "sw.js": b"1;"}
    with serving(page=page) as client:
        for path in ("/", "/index.html", "/?from=home"):
            shown = client.ask("GET", path)
            assert shown.body == page["index.html"]
            assert shown.headers["content-type"].startswith("text/html")
            assert shown.headers["content-security-policy"] == "frame-ancestors 'none'"
            assert shown.headers["cache-control"] == "no-cache"
            assert shown.headers["x-content-type-options"] == "nosniff"
        script = client.ask("GET", "/main.js")
        assert (script.body, script.headers["content-type"]) == (page["main.js"], "text/javascript; charset=utf-8")
        head = client.ask("HEAD", "/main.js")
        assert (head.status, head.headers["content-length"], head.body) == (200, "200000", b"")
        assert client.ask("GET", "/x.wasm").headers["content-type"] == "application/wasm"
        for known in (script.headers["etag"], f'"x", W/{script.headers["etag"]}', "*"):
            same = client.ask("GET", "/main.js", headers={"If-None-Match": known})
            assert (same.status, same.body, same.headers["etag"]) == (304, b"", script.headers["etag"])
        assert client.ask("GET", "/main.js", headers={"If-None-Match": '"x"'}).status == 200
        for path in ("/missing.js", "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/main.js/"):
            client.ask("GET", path).problem(404)
        client.ask("POST", "/", b"x").problem(405)
        assert client.ask("GET", "/v1/model").status == 200


def test_every_format_that_pillow_writes_is_read(client: Client) -> None:
    contents = corpus()
    for content in contents:
        assert client.predict(content).json["predictions"] == [expected(0, content)]
