"""What of this machine takes part in an export: llama.cpp, in its Python package and as a tool.

Nothing heavy is imported here: the keys of stages are made of it.
"""

import shutil
from importlib.metadata import version
from importlib.util import find_spec

from tasks.config import ExportConfig
from tasks.config.exporting import K_KINDS
from tasks.errors import StageError
from tasks.machine.digests import sha256_of

QUANTIZER = "llama-quantize"


def has_llama_cpp() -> bool:
    """Whether a GGUF file can be tried in a real llama.cpp here."""
    return find_spec("xllamacpp") is not None


def fingerprints(config: ExportConfig) -> dict[str, str]:
    """Of formats with a GGUF file: which llama.cpp checks it, and which quantizes it where that is needed.

    Raises StageError for a kind whose tool is not here.
    """
    if not config.format.quantizes:
        return {}
    found = {"llama.cpp": version("xllamacpp") if has_llama_cpp() else "none"}
    if any(kind in K_KINDS for kind in config.kinds):
        found[QUANTIZER] = sha256_of(quantizer(config))
    return found


def quantizer(config: ExportConfig) -> str:
    """The path of llama.cpp's own tool. Raises StageError where it is not on the PATH."""
    path = shutil.which(QUANTIZER)
    if path is None:
        named = next(kind for kind in config.kinds if kind in K_KINDS)
        raise StageError(
            f"{named} is quantized by llama.cpp's own {QUANTIZER}, which is not on the PATH. Install "
            "llama.cpp (brew install llama.cpp, or a release of https://github.com/ggml-org/llama.cpp), or "
            "choose q8_0, q5_1, q5_0, q4_1 or q4_0, which need no tool"
        )
    return path
