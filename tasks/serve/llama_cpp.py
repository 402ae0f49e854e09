"""llama.cpp's own server on a GGUF file, in this process (the package `xllamacpp`)."""

import math
import os
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from gguf.constants import GGUFValueType

from tasks.errors import StageError, UsageError

PARALLEL = 4
USUAL_CONTEXT = 4096
"""Tokens of a request and its answer where nothing is said, for models that could read more."""
ARCHITECTURE = "general.architecture"  # GGUF's name of what the model is; its numbers begin with that
FORMS = {  # of single values, in `struct`'s words
    GGUFValueType.UINT8: "<B",
    GGUFValueType.INT8: "<b",
    GGUFValueType.UINT16: "<H",
    GGUFValueType.INT16: "<h",
    GGUFValueType.UINT32: "<I",
    GGUFValueType.INT32: "<i",
    GGUFValueType.FLOAT32: "<f",
    GGUFValueType.BOOL: "<?",
    GGUFValueType.UINT64: "<Q",
    GGUFValueType.INT64: "<q",
    GGUFValueType.FLOAT64: "<d",
}
CONNECTIONS = 64  # at once; a further one waits until an idle one is closed, which takes seconds
QUIET = -1  # of llama.cpp's verbosity: it writes nothing to standard error


@dataclass(frozen=True)
class LlamaCpp:
    """A server that listens on this machine's loopback, and that only holders of its key can use."""

    address: str
    key: str
    context: int
    """Tokens of one request, its answer included."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


@contextmanager
def llama_cpp(
    path: Path, name: str, *, context: int | None = None, parallel: int = 1, exact: bool = False
) -> Iterator[LlamaCpp]:
    """Serve a file as the model `name`, for as long as the body runs.

    `exact` keeps keys and values in float32, as Transformers does, instead of float16. Pages of other sites
    are allowed nothing (by default llama.cpp allows them all), and there is no web interface.

    Raises UsageError for a context that the model does not have, StageError when the package is missing or
    the file cannot be loaded.
    """
    try:
        import xllamacpp
    except ImportError as error:
        raise StageError(
            "llama.cpp is not installed here. Install it with: pip install 'touchstone[llamacpp]'"
        ) from error
    room = room_of(path, context)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {name}
    params.n_parallel = parallel
    params.n_ctx = room * parallel  # the whole is shared out
    params.cpuparams.n_threads = threads()
    params.n_threads_http = CONNECTIONS  # by default four more than it answers at once
    params.port = 0  # one that is free
    params.hostnames = ["127.0.0.1"]
    params.api_keys = [key := secrets.token_urlsafe(32)]
    params.cors_origins, params.cors_origins_explicit, params.cors_credentials = "", True, False
    params.ui = params.endpoint_slots = False
    params.verbosity = QUIET
    if exact:
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise StageError(
            f"llama.cpp cannot load {path}: it is no GGUF file, of an architecture that this llama.cpp does "
            f"not know, or too large for this machine's memory ({error})"
        ) from error
    yield LlamaCpp(server.listening_address, key, room)
    del server  # which ends it


def room_of(path: Path, wanted: int | None) -> int:
    """Tokens of one request: as many as are wanted, else the model's, up to the usual.

    Raises UsageError when the model has fewer.
    """
    own = context_of_file(path)
    if wanted is None:
        return int(min(own, USUAL_CONTEXT))
    if wanted > own:
        raise UsageError(f"the model's context is {own} tokens; {wanted} were asked for. Ask for fewer")
    return wanted


def context_of_file(path: Path) -> float:
    """The longest sequence of a GGUF file's model in tokens. Raises StageError for what is no such file.

    The package `gguf` reads every token of the vocabulary first, which takes seconds.
    """
    found = {ARCHITECTURE: ""}
    try:
        with path.open("rb") as file:
            for key, value in _metadata(file):
                found[key] = value
                if (length := f"{found[ARCHITECTURE]}.context_length") in found:
                    return found[length]
    except (OSError, ValueError, struct.error) as error:
        raise StageError(f"{path} cannot be read as a GGUF file: {error}") from error
    return math.inf


def _metadata(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    """Names and values in their order; of a list only how many values it has."""
    magic, version, _, count = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF" or version < 2:
        raise ValueError(f"it begins with {magic!r}, version {version}; expected GGUF of version 2 or 3")
    for _ in range(count):
        name = _string(file)
        yield name, _value(file, *struct.unpack("<I", file.read(4)))


def _string(file: BinaryIO) -> str:
    return file.read(*struct.unpack("<Q", file.read(8))).decode()


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == GGUFValueType.STRING:
        return _string(file)
    if kind == GGUFValueType.ARRAY:
        inner, length = struct.unpack("<IQ", file.read(12))
        for _ in range(length):
            _value(file, inner)
        return length
    form = FORMS[GGUFValueType(kind)]
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def threads() -> int:
    """Threads that compute: OMP_NUM_THREADS, else the cores that this process may use."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) else len(os.sched_getaffinity(0))
