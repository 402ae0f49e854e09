"""What a machine lacks says nothing about a file, and nothing about the code."""

import errno
import os

import pytest

from tasks.errors import StageError
from tasks.machine.scarcity import require_no_want, wanting


@pytest.mark.parametrize(
    ("error", "lacked"),
    [
        (MemoryError(), "memory"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "memory"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "file handles"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), "the right"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 6144 bytes. Error code 12"), "memory"),
        (ImportError("libtorch_python.so: failed to map segment from shared object"), "memory"),
        (RuntimeError("PytorchStreamReader failed reading zip archive"), None),
        (OSError(errno.EIO, os.strerror(errno.EIO)), None),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)), None),
        (ValueError("out of memory"), None),
    ],
    ids=str,
)
def test_want_is_known_by_its_error(error, lacked):
    found = wanting(error)
    assert found == lacked if lacked is None else lacked in found


def test_only_want_is_raised():
    require_no_want(EOFError(), "a file")
    with pytest.raises(StageError, match=r"a file could not be read for want of memory \(MemoryError\)"):
        require_no_want(MemoryError(), "a file")
