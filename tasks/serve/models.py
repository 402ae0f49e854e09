"""A model on this machine as it is chatted with and served: where its files are, and how it is asked."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from safetensors import safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.errors import StageError, UsageError
from tasks.export.gguf_file import write_gguf
from tasks.machine.digests import sha256_of
from tasks.machine.kept_files import KeptFiles
from tasks.models.folders import GGUF, require_text, whole_files
from tasks.models.kinds import is_seq2seq, not_causal
from tasks.models.loading import load_model, load_tokenizer
from tasks.record.manifest import sha256_of_tree
from tasks.tokenize.templates import Template, load_template, own_template

EXACT_UP_TO = 1_000_000_000  # weights that are kept in float32 where nothing is said


@dataclass(frozen=True)
class LocalModel:
    """A folder of Transformers or a GGUF file, by the name that people and programs see."""

    name: str
    path: Path
    base: Path | None = None
    """Of adapters alone, the folder of the model that they were trained on."""
    template_name: str | None = None
    """That it was fine-tuned in; None where only its tokenizer knows."""
    labels: Sequence[str] = ()
    """Of a classifier, in the order of its outputs."""
    digest: str = ""
    """Of its files; computed where nothing is given."""
    task: str | None = None
    """What a classifier gives (`tasks/classify/tasks.py`); None of a model that writes."""

    @property
    def is_gguf(self) -> bool:
        return self.path.suffix == GGUF

    @cached_property
    def template(self) -> Template:
        """What it was trained in, else its tokenizer's own, else the words alone."""
        tokenizer = load_tokenizer(self.path)
        return load_template(self.template_name or own_template(tokenizer) or "plain", tokenizer)

    def load(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The model in float32 on the CPU, adapters merged, and its tokenizer."""
        return load_model(self.path, self.base)

    def fingerprint(self) -> str:
        """The digest of all that its answers depend on."""
        if self.is_gguf:
            return sha256_of(self.path)
        own = self.digest or sha256_of_tree(self.path)
        return f"{own[:32]}-{self.template.name}"

    def require_text(self, instead: str) -> None:
        """Raise UsageError for a classifier, with what to use `instead`."""
        require_text(self.name, self.task, self.labels, instead)

    def require_causal(self, what: str) -> None:
        """Raise UsageError for an encoder-decoder, which `what` has no use for: it takes no turns."""
        if not self.is_gguf and is_seq2seq(self.path, self.base):
            raise UsageError(not_causal(f"{self.name} is an encoder-decoder", what))


def local_model(path: Path, name: str | None = None) -> LocalModel:
    """The model in a GGUF file, in a folder of Transformers, or in the output of a stage.

    Raises UsageError for another file or folder.
    """
    found = whole_files(path)
    named = path.stem if found.is_gguf else path.resolve().name
    return LocalModel(
        name or named,
        found.path,
        template_name=found.template,
        labels=tuple(found.labels),
        task=found.task,
    )


@contextmanager
def gguf_of(model: LocalModel, kind: str | None, kept: KeptFiles) -> Iterator[Path]:
    """The model as a GGUF file, written where it is not kept; one that is a file already is taken as it is.

    Raises UsageError for a file that is to be of another kind, StageError for a model that GGUF cannot
    express, and for a full disk.
    """
    if model.is_gguf:
        if kind:
            raise UsageError(f"{model.path.name} is a GGUF file already; leave out --quantize {kind}")
        yield model.path
        return
    kind = kind or ("f32" if _weights(model.base or model.path) <= EXACT_UP_TO else "f16")

    def write(path: Path) -> None:
        network, tokenizer = model.load()
        try:
            template = model.template.chat_template
            write_gguf(network, tokenizer, path, kind=kind, name=model.name, chat_template=template)
        except StageError as error:
            raise error.retold(
                f"{model.name} cannot be served by llama.cpp: {error}, or serve it by Transformers "
                "(--engine transformers)"
            ) from error

    with kept.using(f"{model.fingerprint()}-{kind}{GGUF}", write) as path:
        yield path


def whole_folder(model: LocalModel, kept: KeptFiles) -> AbstractContextManager[Path]:
    """A folder that any engine loads: kept adapters are merged, the template is the tokenizer's."""

    def write(path: Path) -> None:
        network, tokenizer = model.load()
        network.save_pretrained(path)
        model.template.export(tokenizer).save_pretrained(path)

    return kept.using(model.fingerprint(), write)


def _weights(folder: Path) -> int:
    """How many there are, by the heads of the files."""
    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return count
