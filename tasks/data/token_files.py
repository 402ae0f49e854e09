"""The token files: what the tokenize stage writes and training reads, mapped and never loaded whole."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from tasks.errors import StageError
from tasks.machine.json_files import Json, read_json, write_json

FACTS = "tokens.json"
END_OFFSET = np.dtype("<u8")
IGNORED = -100  # the label that a cross-entropy leaves out


@dataclass(frozen=True)
class Split:
    """A stream of documents, each followed by its end token.

    `tokens` (tokens,) are unsigned integers; `ends` (documents,) are the offsets just past each document's
    end token, ascending; the last is the number of tokens.
    """

    tokens: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    def part(self, begin: int, tokens: int, first: int, documents: int) -> "Split":
        """So many tokens from `begin` on, which are so many whole documents from the `first` on.

        The tokens stay mapped; the ends of the documents, eight bytes each, are copied.
        """
        ends = self.ends[first : first + documents] - self.ends.dtype.type(begin)
        return Split(self.tokens[begin : begin + tokens], ends)


@dataclass(frozen=True)
class TokenFiles:
    """What `tokens.json` says of the tokenizer and the splits, and the two splits."""

    vocab_size: int
    end_token: int
    facts: dict[str, Any]
    train: Split
    validation: Split

    def sources(self, split: Literal["train", "validation"]) -> dict[str, Split]:
        """The stream of each source by its name, in the order in which they stand in the split's.

        Empty where the tokens were made without sources (`tokenize.sources`).
        """
        whole: Split = getattr(self, split)
        found: dict[str, Split] = {}
        begin = first = 0
        for name, own in self.facts[split].get("sources", {}).items():
            found[name] = whole.part(begin, own["tokens"], first, own["documents"])
            begin, first = begin + own["tokens"], first + own["documents"]
        return found

    def validation_streams(self) -> dict[str, Split]:
        """What an evaluation reads: each source by its name, or the whole split without one."""
        return self.sources("validation") or {"": self.validation}

    def predicted_bytes(self, apart: bool) -> int:
        """Bytes of the validation text that the tokens stand for which are predicted, documents `apart`."""
        facts, how = self.facts["validation"], "apart" if apart else "joined"
        streams = list(facts.get("sources", {}).values()) or [facts]
        return facts["bytes"] - sum(stream["unpredicted_bytes"][how] for stream in streams)

    @property
    def special(self) -> dict[str, Any]:
        """Ids of a tokenizer for a masked model: `start`, `end`, `mask`, `pad`, and `all` special ones.

        Raises StageError for one without a mask token.
        """
        if "special" not in self.facts:
            raise StageError(
                "the tokenizer has no mask token, which pretrain.objective=masked needs. Set "
                "tokenize.mask_token=true"
            )
        return self.facts["special"]


def id_count(tokenizer: PreTrainedTokenizerBase) -> int:
    """One more than the largest id of a tokenizer's vocabulary: it has fewer tokens where ids are left out.

    This many rows an embedding needs, and this is what a type of numbers has to reach.
    """
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def token_path(folder: Path, split: str) -> Path:
    return folder / f"{split}.bin"


def ends_path(folder: Path, split: str) -> Path:
    return folder / f"{split}.ends.bin"


def write_facts(folder: Path, facts: Json) -> None:
    """What there is to know of the token files beside them: of the tokenizer, and of each split."""
    write_json(folder / FACTS, facts)


def read_facts(folder: Path) -> Json:
    return read_json(folder / FACTS)


def load_tokens(folder: Path) -> TokenFiles:
    """Map the files of one tokenize output."""
    facts = read_facts(folder)
    train, validation = (
        Split(
            _mapped(token_path(folder, name), np.dtype(facts["dtype"])),
            _mapped(ends_path(folder, name), END_OFFSET),
        )
        for name in ("train", "validation")
    )
    return TokenFiles(facts["vocab_size"], facts["end_token"], facts, train, validation)


def pretrained_on(folder: Path | None) -> Split | None:
    """The training stream of a tokenize output, if there is one."""
    return load_tokens(folder).train if folder else None


def _mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    """The file as an array; an empty file cannot be mapped."""
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype=dtype)
