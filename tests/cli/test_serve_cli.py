"""`cifar-edge serve` as a process: how it starts, who may reach it, how it stops."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from time import sleep

import pytest
from click.testing import CliRunner
from conftest import ENTRY_POINT
from image_helpers import png_claiming
from service_helpers import PNG, Client, post, read_until_closed, wait_until
from tiny import TINY

from benchmarks.pictures.hostile import encoded
from cifar_edge.cli import serve
from cifar_edge.cli.main import main
from cifar_edge.errors import DataError
from cifar_edge.service.page import reveals_models
from cifar_edge.web import build

TOKEN = "0123456789abcdef"


@contextmanager
def process(
    *arguments: str, preexec_fn: Callable[[], None] | None = None, **variables: str
) -> Iterator[tuple[Client, "subprocess.Popen[str]", str]]:
    """A service of tests/files/tiny.onnx on a free port, with what it said until it was ready; killed at the end."""
    with subprocess.Popen(
        [ENTRY_POINT, "serve", TINY, "--port", "0", *arguments],
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec_fn,
    ) as running:
        try:
            assert running.stderr is not None
            lines = iter(running.stderr.readline, "")
            said = ""
            while not (match := re.search(r":(\d+); Ctrl", said)):
                line = next(lines, None)
                assert line, said
                said += line
            yield Client(int(match[1])), running, said
        finally:
            running.kill()


def ended(running: "subprocess.Popen[str]") -> list[str]:
    """The further lines of the log of a process that ends with 0."""
    assert running.stderr is not None
    lines = running.stderr.read().splitlines()
    assert running.wait(30) == 0, lines
    return lines


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_logs_and_stops(image_files: list[Path], number: signal.Signals) -> None:
    with process() as (client, running, said):
        port = client.port
        assert said == f"model: {TINY}\nserving at http://127.0.0.1:{port}; Ctrl+C stops it\n"
        assert client.predict(image_files[0].read_bytes()).status == 200
        assert client.predict(b"not an image").status == 422
        long = client.ask("GET", "/healthz?" + "x" * 10_000)
        long.problem(400)
        running.send_signal(number)
        first, second, third, last = ended(running)
    assert re.fullmatch(r'[-0-9:, ]+ [0-9a-f]{16} 127\.0\.0\.1:\d+ - "POST /v1/predict HTTP/1\.1" 200', first)
    assert second.endswith(" 422")
    assert third.split()[2] == long.headers["x-request-id"]
    assert third.endswith('xxx... HTTP/1.1" 400')
    assert len(third) < 300  # the log grows with requests, not with what strangers put into them
    assert last == "stopped; requests: 3"


def test_it_answers_what_it_has_begun_to_read_before_it_stops(image_files: list[Path]) -> None:
    content = image_files[0].read_bytes()
    with process() as (client, running, _), client.connect() as connection:
        connection.sendall(post(content[:100], len(content)))
        wait_until(lambda: client.ask("GET", "/healthz").status == 200)
        running.terminate()
        with pytest.raises(ConnectionError):
            wait_until(lambda: client.connect().close())  # until it listens no more
        connection.sendall(content[100:])
        assert read_until_closed(connection).startswith(b"HTTP/1.1 200 OK")
        assert ended(running)[-1] == "stopped; requests: 2"


def test_a_second_signal_ends_it_whatever_is_decoded(image_files: list[Path]) -> None:
    program = (
        "import threading, cifar_edge.cli.main as cli, cifar_edge.runtime.classifier as runtime\n"
        "runtime.Classifier.predict = lambda *arguments, **options: threading.Event().wait()\n"
        f"cli.main(['serve', {str(TINY)!r}, '--port', '0', '--quiet', '--workers', '1'])\n"
    )
    content = image_files[0].read_bytes()
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stderr is not None
            match = re.search(r":(\d+);", running.stderr.readline())
            assert match
            client = Client(int(match[1]))
            with client.connect() as connection:
                connection.sendall(post(content, len(content)))
                wait_until(lambda: client.ask("GET", "/healthz").status == 200)
                running.send_signal(signal.SIGINT)
                with pytest.raises(ConnectionError):
                    wait_until(lambda: client.connect().close())  # until it listens no more
                running.send_signal(signal.SIGINT)
                assert running.wait(30) == 0
        finally:
            running.kill()


def test_the_host_header_is_that_of_this_machine() -> None:
    with process("--quiet") as (client, _, _):
        assert client.ask("GET", "/healthz", headers={"Host": "localhost"}).status == 200
        client.ask("GET", "/healthz", headers={"Host": "evil.example"}).problem(421)


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="there is no IPv6 here")
def test_the_other_loopback_address() -> None:
    with process("--quiet", "--host", "::1") as (client, _, said):
        assert f"serving at http://[::1]:{client.port};" in said
        with socket.create_connection(("::1", client.port)) as connection:
            connection.sendall(
                f"GET /healthz HTTP/1.1\r\nHost: [::1]:{client.port}\r\nConnection: close\r\n\r\n".encode()
            )
            assert read_until_closed(connection).startswith(b"HTTP/1.1 200 OK")


def test_the_web_page_is_shown_with_the_same_model_if_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = str(tmp_path / "cache")
    with process("--quiet", XDG_CACHE_HOME=cache, TMPDIR=str(tmp_path)) as (client, _, _):
        assert b"cifar-edge web --out DIR" in client.ask("GET", "/").body
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    built = build.cached_page()
    built.mkdir(parents=True)
    (built / "index.html").write_text("<title>The page</title>")
    (built / "main.js").write_text("1;")
    (built / "sw.js").write_text("1;")
    with process("--quiet", XDG_CACHE_HOME=cache, TMPDIR=str(tmp_path)) as (client, running, _):
        assert b"The page" in client.ask("GET", "/").body
        assert client.ask("GET", "/model.onnx").body == TINY.read_bytes()
        assert b"model.onnx" in client.ask("GET", "/sw.js").body
        running.kill()
    with process("--quiet", CIFAR_EDGE_TOKEN=TOKEN, XDG_CACHE_HOME=cache) as (client, running, _):
        assert b"The page" in client.ask("GET", "/").body
        for name in ("model.json", "model.onnx"):
            assert reveals_models(name)
            client.ask("GET", f"/{name}").problem(401)
            opened = client.ask("GET", f"/{name}", headers={"Authorization": f"Bearer {TOKEN}"})
            assert opened.body == (TINY.read_bytes() if name == "model.onnx" else opened.body)
        # The service worker has no token, and must not ask for what needs one.
        worker = client.ask("GET", "/sw.js").body
        assert b"model.json" not in worker
        assert b"model.onnx" not in worker
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]  # nothing is left, however it ends


def test_a_page_that_cannot_be_read_is_told_and_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def homeless() -> Path:
        raise DataError("this user has no home folder for the cache")

    for found in (lambda: tmp_path / "missing", homeless):
        monkeypatch.setattr(build, "found_page", found)
        assert serve.page_files([TINY], secured=False) is None
        said = capsys.readouterr().err
        assert said.startswith("serving without the web page: ")
        assert len(said.splitlines()) == 1


def test_an_origin_is_known_however_it_is_written() -> None:
    with process("--quiet", "--cors-origin", "https://Example.org:443/") as (client, _, _):
        answer = client.ask("GET", "/v1/model", headers={"Origin": "https://example.org"})
        assert answer.headers["access-control-allow-origin"] == "https://example.org"


def test_an_address_that_others_reach_needs_a_token() -> None:
    arguments = ("--host", "0.0.0.0", "--quiet", "--allow-host", "Edge.example")
    with process(*arguments, CIFAR_EDGE_TOKEN=TOKEN) as (client, running, said):
        assert "serving at http://0.0.0.0:" in said
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        for host in ("edge.example", "edge.example:8000", "192.168.0.7:8000", "localhost"):
            client.ask("GET", "/v1/model", headers={"Host": host}).problem(401)
            assert client.ask("GET", "/v1/model", headers={"Host": host} | bearer).status == 200
        client.ask("GET", "/v1/model", headers={"Host": "evil.example"} | bearer).problem(421)
        running.terminate()
        assert TOKEN not in said + "".join(ended(running))


def few_files(most: int) -> Callable[[], None]:
    """What a process does before it begins, so that it may open ``most`` files."""
    return partial(resource.setrlimit, resource.RLIMIT_NOFILE, (most, most))


def test_more_connections_than_open_files_are_served_and_stop_at_once() -> None:
    with process("--quiet", preexec_fn=few_files(256)) as (client, running, _), ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(client.connect())
        for _ in range(3):
            assert client.ask("GET", "/healthz").status == 200
            assert client.ask("GET", "/v1/model").status == 200
        running.terminate()
        (line,) = ended(running)
        assert line.endswith("all 128 connections are taken: those that wait longest are closed")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux takes files from a process that runs")
def test_a_system_out_of_files_is_one_line() -> None:
    with process("--quiet") as (client, running, _), ExitStack() as stack:
        usual = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
        assert client.ask("GET", "/healthz").status == 200
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (20, usual[1]))
        for _ in range(50):
            stack.enter_context(client.connect())
        assert running.stderr is not None
        assert "no more connections can be accepted" in running.stderr.readline()
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, usual)
        assert client.ask("GET", "/healthz").status == 200
        slow = stack.enter_context(client.connect())
        slow.sendall(post(b"x", length=2))
        assert client.ask("GET", "/healthz").status == 200
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (20, usual[1]))
        client.connect().close()
        running.terminate()
        sleep(1.5)  # asyncio tries again to accept after a second, when the service has closed its socket
        slow.sendall(b"x")
        assert read_until_closed(slow).startswith(b"HTTP/1.1 422 ")
        assert ended(running) == []


@pytest.mark.parametrize(("most", "connections"), [(1024, 896), (300, 172)])
def test_the_number_of_connections_follows_the_limit_of_open_files(most: int, connections: int) -> None:
    with process(preexec_fn=few_files(most)) as (_, _, said):
        assert f"connections: at most {connections}" in said


def test_too_few_open_files_are_told() -> None:
    done = subprocess.run(
        [ENTRY_POINT, "serve", TINY], preexec_fn=few_files(100), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: this process may open only 100 files, too few to serve; allow 144 (ulimit -n)\n"


def test_an_image_that_costs_too_much_is_refused() -> None:
    with process("--quiet") as (client, _, _):
        for content, reason in (
            (png_claiming(10_000, 9_000), "more than the limit of 268 MB"),
            (png_claiming(10_000, 5_000), "truncated"),
            (encoded("JPEG2000", (2_000, 2_000)), "more than 1 seconds"),
        ):
            answer = client.predict(content, PNG)
            assert reason in answer.json["predictions"][0]["error"]
            assert answer.status == 422


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "CIFAR_EDGE_TOKEN"),
        (["--host", "::"], "--no-auth"),
        (["--token", "short"], "16 to 512"),
        (["--token", "with a space in it, too"], "visible ASCII"),
        (["--token", TOKEN, "--no-auth"], "exclude each other"),
        (["--workers", "0"], "workers"),
        (["--allow-host", "edge.example:8000"], "'edge.example:8000' is not a host name"),
        (["--allow-host", "192.168.1.5:8000"], "'192.168.1.5:8000' is not a host name"),
        (["--cors-origin", "example.org"], "'example.org' is not an origin; give scheme://host"),
        (["--cors-origin", "https://example.org/page"], "is not an origin"),
        (["--cors-origin", "https://ex ample.org"], "is not an origin"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["serve", str(TINY), "--port", "0", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["serve", str(TINY), "--port", port])
    assert (result.exit_code, result.stdout) == (1, "")
    assert (
        result.stderr
        == f"Error: cannot listen on '127.0.0.1', port {port}: address already in use; give another --host or --port\n"
    )


@pytest.mark.parametrize("host", ["no.such.name.invalid", "192.0.2.1", "x" * 300])
def test_a_wrong_address_is_one_line(host: str) -> None:
    result = CliRunner().invoke(main, ["serve", str(TINY), "--host", host, "--no-auth"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: cannot listen on ")
    assert len(result.stderr.splitlines()) == 1


def test_without_its_extra_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['uvicorn'] = None; from cifar_edge.cli.main import main; main(['serve'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"Error: .*; pip install 'cifar-edge\[serve\]'\n", done.stderr)
