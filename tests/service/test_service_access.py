"""Who may ask the HTTP service: tokens, names of the host, and pages of other sites."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from service_helpers import PNG, Broken, Client, serving

from cifar_edge.service.access import Access
from cifar_edge.service.limits import ServiceLimits

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with serving() as client:
        yield client


@pytest.fixture(scope="module")
def secured() -> Iterator[Client]:
    with serving(access=Access(token=TOKEN)) as client:
        yield client


@pytest.fixture(scope="module")
def content() -> bytes:
    return (Path(__file__).parents[2] / "docs" / "images" / "cat.png").read_bytes()


@pytest.mark.parametrize("header", [None, TOKEN, f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", "Bearer \xff\xfe"])
def test_the_api_needs_the_token(secured: Client, content: bytes, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for answer in (
        secured.ask("GET", "/v1/model", headers=headers),
        secured.ask("GET", "/v1/models", headers=headers),
        secured.predict(content, PNG | headers),
    ):
        assert "Authorization: Bearer TOKEN" in answer.problem(401)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_model_of_the_page_needs_the_token_too() -> None:
    page = {name: name.encode() for name in ("index.html", "main.js", "sw.js", "model.json", "model.onnx")}
    with serving(access=Access(token=TOKEN), page=page) as client:
        for name in ("model.json", "model.onnx"):
            for method in ("GET", "HEAD"):
                assert client.ask(method, f"/{name}").status == 401
            client.ask("GET", f"/{name}").problem(401)
            assert client.ask("GET", f"/{name}", headers={"Authorization": f"Bearer {TOKEN}"}).body == name.encode()
            for path in (f"/%6d{name[1:]}", f"/x/../{name}", f"//{name}", f"/{name}/", f"/{name}?x"):
                assert client.ask("GET", path).status in (401, 404)
        for path in ("/", "/main.js", "/sw.js"):
            assert client.ask("GET", path).status == 200


def test_the_token_opens_the_api(secured: Client, content: bytes) -> None:
    for header in (f"Bearer {TOKEN}", f"bearer  {TOKEN}"):
        assert secured.predict(content, PNG | {"Authorization": header}).status == 200
    assert secured.ask("GET", "/healthz").status == 200
    assert secured.ask("GET", "/openapi.json").json["components"]["securitySchemes"]


def test_a_name_rebound_to_this_machine_is_refused(content: bytes) -> None:
    with serving(access=Access(hosts=frozenset({"localhost", "127.0.0.1", "::1"}))) as client:
        for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "[::1]"):
            assert client.ask("GET", "/healthz", headers={"Host": host}).status == 200
        strangers = ("evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "[::1", "", "::1")
        for host in (
            *strangers,
            "user@localhost",
            "localhost:x",
            "localhost/x",
            "localhost#.evil.example",
            "localhost?",
        ):
            answer = client.predict(content, PNG | {"Host": host})
            assert "Host header" in answer.problem(421)
            assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_address_is_a_name_of_a_service_that_listens_at_all() -> None:
    with serving(access=Access(hosts=frozenset({"localhost", "edge.example"}), any_address=True)) as client:
        for host in (
            "localhost:1",
            "edge.example",
            "EDGE.example:80",
            "192.168.0.7:8000",
            "[2001:db8::1]:8000",
            "[::1]",
        ):
            assert client.ask("GET", "/healthz", headers={"Host": host}).status == 200
        for host in ("evil.example", "192.168.0.7.evil.example", "1", "0x7f000001", "192.168.0.7@evil.example", ""):
            assert "--allow-host" in client.ask("GET", "/healthz", headers={"Host": host}).problem(421)


def test_pages_of_other_sites_may_not_ask_unless_told(content: bytes) -> None:
    friend, stranger = "https://friend.example", "https://stranger.example"
    with serving(access=Access(origins=(friend,))) as client:
        for origin, status in ((friend, 200), (stranger, 403)):
            answer = client.predict(content, PNG | {"Origin": origin, "Sec-Fetch-Site": "cross-site"})
            assert answer.status == status
            assert answer.headers.get("access-control-allow-origin") == (friend if status == 200 else None)
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        assert client.ask("OPTIONS", "/v1/predict", headers={"Origin": friend} | asked).status == 200
        client.ask("OPTIONS", "/v1/predict", headers={"Origin": stranger} | asked).problem(403)
    with serving(access=Access(origins=("*",))) as client:
        answer = client.predict(content, PNG | {"Origin": stranger, "Sec-Fetch-Site": "cross-site"})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")


def test_a_page_of_an_allowed_origin_may_read_a_refusal(content: bytes) -> None:
    """When to try again, and why, whoever it is that refuses: the door, the queue, a handler or a fault."""
    friend = {"Origin": "https://friend.example"}
    access = Access(origins=(friend["Origin"],))
    with serving(ServiceLimits(requests=0), access) as client:
        full = client.predict(content, PNG | friend)
    with serving(access=access, classifier=Broken()) as client:
        answers = {503: full, 500: client.predict(content, PNG | friend), 400: client.predict(b"", PNG | friend)}
    for status, answer in answers.items():
        answer.problem(status)
        assert answer.headers["access-control-allow-origin"] == friend["Origin"]
        assert "Retry-After" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost:8000", "http://localhost:8000", 200),
        ("LOCALHOST:8000", "http://localhost:8000", 200),
        ("[::1]:8000", "http://[::1]:8000", 200),
        ("edge.example", "http://edge.example", 200),
        ("edge.example", "https://edge.example", 200),  # a proxy speaks https for us
        ("edge.example:443", "https://edge.example", 200),
        ("localhost:8000", "http://localhost:3000", 403),
        ("localhost:8000", "http://localhost", 403),
        ("localhost:8000", "http://127.0.0.1:8000", 403),
        ("localhost:8000", "http://stranger.example", 403),
        ("localhost:8000", "http://localhost:8000.stranger.example", 403),
        ("edge.example", "http://edge.example:443", 403),
        ("edge.example", "ftp://edge.example", 403),
        ("edge.example", "null", 403),
        ("edge.example", "edge.example", 403),
        ("edge.example", "", 403),
    ],
)
def test_where_a_page_comes_from_is_seen_without_fetch_metadata(
    client: Client, content: bytes, host: str, origin: str, status: int
) -> None:
    """Browsers send no Sec-Fetch-Site to plain-http names, and same-site from another port."""
    for answer in (
        client.predict(content, PNG | {"Host": host, "Origin": origin}),
        client.ask("GET", "/healthz", headers={"Host": host, "Origin": origin}),
    ):
        assert answer.status == status
        assert status == 200 or "pages of other sites" in answer.problem(403)


def test_the_model_is_kept_from_pages_of_other_ports(client: Client) -> None:
    for site, status in (("same-site", 403), ("cross-site", 403), ("same-origin", 200), ("none", 200)):
        assert client.ask("GET", "/v1/model", headers={"Sec-Fetch-Site": site}).status == status
