"""Files that are kept: within the limit, never while in use, never half of one, whoever else is at work."""

import os
import subprocess
import sys
import threading

import pytest

from tasks.errors import StageError
from tasks.machine.kept_files import KeptFiles

KILLED = """
import os, sys
from pathlib import Path
from tasks.machine.kept_files import KeptFiles
def make(path):
    path.write_bytes(b"half")
    os.kill(os.getpid(), 9)
with KeptFiles(Path(sys.argv[1])).using("one", make): pass
"""
USING = """
import sys
from pathlib import Path
from tasks.machine.kept_files import KeptFiles
with KeptFiles(Path(sys.argv[1])).using("one", lambda path: path.write_bytes(b"1" * 10)):
    print("ready", flush=True)
    sys.stdin.read()
"""


def writes(content=b"0123456789"):
    return lambda path: path.write_bytes(content)


def kept_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def use(kept, name, when=None, make=None):
    with kept.using(name, make or writes()):
        pass
    if when:
        os.utime(kept.folder / f"{name}.lock", (when, when))


def test_the_oldest_beyond_the_limit_goes(tmp_path):
    told = []
    kept = KeptFiles(tmp_path, told.append, most_bytes=25, most=9)
    for when, name in enumerate(("a", "b", "c"), 1):
        use(kept, name, when)
    use(kept, "a", 4)  # its use counts, not its making
    use(kept, "d")
    assert kept_in(tmp_path) == ["a", "c", "d"]
    assert told == [f"removed {tmp_path / 'b'}, which was used last among more than are kept"]
    few = KeptFiles(tmp_path, most=2)
    use(few, "e")
    assert kept_in(tmp_path) == ["d", "e"]


def test_what_is_in_use_stays(tmp_path):
    kept = KeptFiles(tmp_path, most=1)
    with kept.using("a", writes()) as path:
        use(kept, "b")
        assert path.exists()
    use(kept, "c")
    assert kept_in(tmp_path) == ["c"]


def test_a_folder_is_kept_and_removed_whole(tmp_path):
    def make(path):
        (path / "inner").mkdir(parents=True)
        (path / "inner" / "file").write_bytes(b"0" * 100)

    use(kept := KeptFiles(tmp_path, most_bytes=50), "folder", make=make)
    use(kept, "b")
    assert kept_in(tmp_path) == ["b"]


def test_what_could_not_be_made_leaves_nothing(tmp_path):
    def make(path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StageError, match=r"the disk was full while one was written to .*: \d+ bytes"):
        use(KeptFiles(tmp_path), "one", make=make)
    assert kept_in(tmp_path) == []


@pytest.mark.parametrize("name", ["one", "two"])
def test_half_of_a_killed_attempt_is_never_found(tmp_path, name):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert kept_in(tmp_path) == ["one.part"]
    with KeptFiles(tmp_path).using(name, writes()) as path:
        assert path.read_bytes() == b"0123456789"
    assert kept_in(tmp_path) == [name]


def test_another_process_that_uses_it_keeps_it(tmp_path):
    command = [sys.executable, "-c", USING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"ready\n"
        kept = KeptFiles(tmp_path, most=1)
        with kept.using("one", writes(b"ours")) as path:
            assert path.read_bytes() == b"1" * 10
        use(kept, "two")
        assert kept_in(tmp_path) == ["one", "two"]
        other.kill()
        other.wait()
        use(kept, "three")
    assert kept_in(tmp_path) == ["three"]


def test_it_is_made_once_by_several_at_once(tmp_path):
    made, begin = [], threading.Barrier(4)
    kept = KeptFiles(tmp_path)

    def make(path):
        made.append(path)
        path.write_bytes(b"0123456789")

    def run():
        begin.wait()
        with kept.using("one", make) as path:
            assert path.read_bytes() == b"0123456789"

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
