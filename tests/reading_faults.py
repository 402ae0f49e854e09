"""What goes wrong while a whole file is read, and what is wrong with a file."""

import errno
import os
import pickle

from safetensors import SafetensorError

READING_FAULTS = [
    MemoryError(),
    *(
        OSError(number, os.strerror(number))
        for number in (
            errno.ENOMEM,
            errno.EMFILE,
            errno.ENFILE,
            errno.EACCES,
            errno.EPERM,
            errno.EIO,
            errno.ESTALE,
            errno.ETIMEDOUT,
            errno.EINTR,
        )
    ),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 6144 bytes"
    ),
    RuntimeError("PytorchStreamReader failed reading zip archive: failed finding central directory"),
    RuntimeError("CUDA error: out of memory"),
    EOFError("Ran out of input"),
    pickle.UnpicklingError("Weights only load failed"),
    SafetensorError("Error while deserializing header"),
    ImportError("libtorch_python.so: failed to map segment from shared object"),
    KeyError("progress"),
]


def failing_with(error):
    def fail(*_, **__):
        raise error

    return fail


def files_of(folder):
    """The bytes of every file below a folder, by its path."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
