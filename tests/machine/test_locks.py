"""Locks exclude each other, though their files are removed, and leave none behind."""

import multiprocessing
import os
import threading
import time

import pytest
from filelock import FileLock

from tasks.machine.locks import Timeout, holding, sweep_locks

FORK = multiprocessing.get_context("fork")  # they import nothing: a process takes milliseconds


def test_a_lock_is_held_by_one_and_its_file_is_gone_afterwards(tmp_path):
    path = tmp_path / "x.lock"
    with holding(path):
        assert path.exists()
        with pytest.raises(Timeout), holding(path, timeout=0):
            pass
        assert path.exists()  # who was refused removes nothing
    assert not path.exists()
    with pytest.raises(KeyError), holding(path):
        raise KeyError
    assert not path.exists()


def add_up(path, counter, times):
    """Read, wait, write: two that hold the lock at once lose an addition."""
    for _ in range(times):
        with holding(path):
            count = int(counter.read_text())
            time.sleep(0)
            counter.write_text(str(count + 1))


def test_processes_in_turn_lose_nothing_as_the_file_is_removed(tmp_path):
    path, counter = tmp_path / "x.lock", tmp_path / "counter"
    counter.write_text("0")
    adding = [FORK.Process(target=add_up, args=(path, counter, 150)) for _ in range(4)]
    for process in adding:
        process.start()
    for process in adding:
        process.join(60)
    assert [process.exitcode for process in adding] == [0] * 4
    assert counter.read_text() == "600"
    assert list(tmp_path.glob("*.lock")) == []


def test_who_waits_with_the_removed_file_open_takes_the_new_one(tmp_path, monkeypatch):
    """The race itself: the file is opened before its holder removes it, and locked after."""
    path, opened, removed = tmp_path / "x.lock", threading.Event(), threading.Event()
    import filelock._native._unix as unix

    lock = unix.lock_fd_nonblocking

    def late(fd):
        if threading.current_thread() is waiting and not removed.is_set():
            opened.set()
            assert removed.wait(10)
        return lock(fd)

    def wait():
        with holding(path):
            inodes.append((path.stat().st_ino, path.stat().st_nlink))

    inodes = []
    monkeypatch.setattr(unix, "lock_fd_nonblocking", late)
    waiting = threading.Thread(target=wait)
    with holding(path):
        old = os.open(path, os.O_RDONLY)  # so that no new file can have its number
        waiting.start()
        assert opened.wait(10)
    removed.set()
    waiting.join(10)
    assert inodes
    assert inodes[0] != (os.fstat(old).st_ino, 1)
    os.close(old)


def test_leftovers_of_killed_processes_are_swept_and_held_stay(tmp_path):
    (tmp_path / "dead.lock").touch()
    (tmp_path / "other").touch()
    with FileLock(tmp_path / "alive.lock"):
        sweep_locks(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["alive.lock", "other"]
