"""The SHA-256 of large files: read once, and again when anything about the file is another."""

import hashlib
import os

import pytest

from tasks.machine import digests
from tasks.machine.digests import sha256_of

TEXT = b"a corpus " * 100


@pytest.fixture
def reads(monkeypatch, tmp_path):
    """What is read, with files of any size large, and old enough at once."""
    read, found = digests.read_sha256, []
    monkeypatch.setattr(digests, "LARGE", 1)
    monkeypatch.setattr(digests, "SETTLED", -1)
    monkeypatch.setattr(digests, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(digests, "read_sha256", lambda path: found.append(path.name) or read(path))
    return found


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(TEXT)
    return path


def sha(data):
    return hashlib.sha256(data).hexdigest()


def test_a_file_that_stays_as_it_is_is_read_once(reads, file):
    assert [sha256_of(file) for _ in range(3)] == [sha(TEXT)] * 3
    digests._known.cache_clear()  # as in another process
    assert sha256_of(file) == sha(TEXT)
    assert reads == ["corpus.txt"]


def test_altered_file_is_read_again_at_the_same_size_and_time(reads, file):
    """The time of its last change is what no program can set."""
    before = file.stat()
    assert sha256_of(file) == sha(TEXT)
    altered = bytes(reversed(TEXT))
    while file.stat().st_ctime_ns == before.st_ctime_ns:
        file.write_bytes(altered)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert sha256_of(file) == sha(altered)


def test_a_folder_that_is_moved_keeps_its_digests(reads, file, tmp_path):
    """An output is published by moving its folder."""
    (tmp_path / "work").mkdir()
    file = file.rename(tmp_path / "work" / "corpus.txt")
    assert sha256_of(file) == sha(TEXT)
    (tmp_path / "work").rename(tmp_path / "published")
    assert sha256_of(tmp_path / "published" / "corpus.txt") == sha(TEXT)
    assert reads == ["corpus.txt"]


def test_another_file_in_its_place_is_read(reads, file, tmp_path):
    assert sha256_of(file) == sha(TEXT)
    other = tmp_path / "other"
    other.write_bytes(TEXT[::-1])
    other.replace(file)
    assert sha256_of(file) == sha(TEXT[::-1])


def test_nothing_is_kept_of_a_file_that_was_written_a_moment_ago(reads, file, monkeypatch):
    """A write within what times are exact to would not show in them."""
    monkeypatch.setattr(digests, "SETTLED", 10**12)
    sha256_of(file), sha256_of(file)
    assert reads == ["corpus.txt"] * 2


def test_file_written_while_it_is_read_is_not_remembered(reads, file, monkeypatch):
    read = digests.read_sha256

    def written_meanwhile(path):
        digest = read(path)
        path.write_bytes(TEXT * 2)
        return digest

    monkeypatch.setattr(digests, "read_sha256", written_meanwhile)
    assert sha256_of(file) == sha(TEXT)
    assert sha256_of(file) == sha(TEXT * 2)


def test_what_a_kill_left_of_the_kept_digests_says_nothing(reads, file, tmp_path):
    assert sha256_of(file) == sha(TEXT)
    kept = tmp_path / "home" / digests.KEPT
    kept.write_bytes(kept.read_bytes()[:-9] + b"\xff\n1 2 3\n\n")
    assert sha256_of(file) == sha(TEXT)
    assert reads == ["corpus.txt"] * 2


def test_what_is_kept_is_bounded(reads, file, tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "MOST", 1)
    for number in range(9):
        file.write_bytes(TEXT * (number + 1))
        sha256_of(file)
    assert len((tmp_path / "home" / digests.KEPT).read_text().splitlines()) <= 3


def test_small_files_are_read_each_time_and_keep_nothing(file, monkeypatch, tmp_path):
    monkeypatch.setattr(digests, "home", lambda: tmp_path / "home")
    assert sha256_of(file) == sha(TEXT)
    assert not (tmp_path / "home").exists()
