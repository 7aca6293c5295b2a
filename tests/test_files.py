"""Files that matter are on the disk before anybody relies on them."""

import os
from pathlib import Path

import pytest

from cifar_edge.errors import CifarEdgeError
from cifar_edge.files import check_writable, make_folder, replacing, write_bytes, write_text


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bytes | None]]:
    """The inode of each file and folder that is synced from now on, and of a file what it holds then."""
    found: list[tuple[int, bytes | None]] = []

    def fsync(handle: int) -> None:
        status = os.fstat(handle)
        found.append((status.st_ino, os.pread(handle, status.st_size, 0) if status.st_nlink == 1 else None))

    monkeypatch.setattr(os, "fsync", fsync)
    return found


def test_a_durable_file_is_synced_before_it_has_its_name_and_the_folder_after(
    tmp_path: Path, synced: list[tuple[int, bytes | None]]
) -> None:
    path = tmp_path / "weights"
    write_bytes(path, b"content")
    assert synced == [(path.stat().st_ino, b"content"), (tmp_path.stat().st_ino, None)]
    write_text(path, "more")
    assert synced[2:] == [(path.stat().st_ino, b"more"), (tmp_path.stat().st_ino, None)]


def test_what_can_be_made_again_is_not_synced(tmp_path: Path, synced: list[tuple[int, bytes | None]]) -> None:
    with replacing(tmp_path / "cache") as temporary:
        temporary.write_bytes(b"decoded")
    write_bytes(tmp_path / "answers", b"of a teacher", durable=False)
    assert synced == []


def test_the_names_of_new_folders_are_synced(tmp_path: Path, synced: list[tuple[int, bytes | None]]) -> None:
    assert make_folder(tmp_path / "runs" / "new") == [tmp_path / "runs" / "new", tmp_path / "runs"]
    assert [inode for inode, _ in synced] == [(tmp_path / "runs").stat().st_ino, tmp_path.stat().st_ino]
    assert make_folder(tmp_path / "runs" / "new") == []


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text("mine")
    for path in (file / "report.html", file / "new" / "report.html"):
        with pytest.raises(CifarEdgeError, match=f"cannot write {path}: {file} is not a folder"):
            check_writable(path)
        with pytest.raises(CifarEdgeError, match=f"cannot write {path}: {file} is not a folder"):
            write_text(path, "anything")
    check_writable(tmp_path / "new" / "report.html")
    assert list(tmp_path.iterdir()) == [file]
