"""Tokenizers, and the corpus as a stream of tokens.

Whatever the kind, what is saved is a Hugging Face tokenizer folder that `AutoTokenizer` loads.
"""

import json
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tasks.config import TokenizeConfig
from tasks.errors import StageError
from tasks.reading import read_records, read_text, text_field
from tasks.record import StageRun
from tasks.rows import load_split

END = "<|endoftext|>"
PAD = "<|pad|>"
UNKNOWN = "<|unk|>"
DOCUMENTS_PER_BATCH = 256


def tokenize(
    config: TokenizeConfig,
    run: StageRun,
    *,
    corpus: Path,
    vocabulary: Path | None = None,
    rows: Path | None = None,
) -> None:
    """Write `tokenizer/`, `train.bin`, `validation.bin` (one unsigned integer a token) and `tokens.json`.

    `vocabulary` holds `encoder.json` and `vocab.bpe` for kind gpt2. A tokenizer that is trained here also
    reads the training split of `rows`, so that the words of the instructions get tokens. Every document is
    followed by the end token. Raises StageError for an empty or malformed corpus.
    """
    documents = list(read_documents(corpus))
    tokenizer = make_tokenizer(config, [*documents, *_training_texts(rows)], vocabulary)
    tokenizer.save_pretrained(run.out / "tokenizer")
    kind = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    facts: dict[str, object] = {
        "dtype": np.dtype(kind).name,
        "vocab_size": len(tokenizer),
        "end_token": tokenizer.eos_token_id,
        "documents": len(documents),
    }
    for name, texts in zip(("train", "validation"), split_documents(documents, config), strict=True):
        tokens = encode(tokenizer, texts)
        tokens.astype(kind).tofile(run.out / f"{name}.bin")
        facts[name] = {"tokens": len(tokens), "bytes": sum(len(text.encode()) for text in texts)}
        run.log_metrics({f"{name}_tokens": len(tokens)})
        run.progress(len(tokens), len(tokens), "tokens", f"{name} split")
    run.log_metrics({"vocab_size": len(tokenizer)})
    (run.out / "tokens.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def read_documents(corpus: Path) -> Iterator[str]:
    """Documents below a folder, in the order of their paths: a text file, or a JSON row's `text`."""
    paths = sorted(p for p in corpus.rglob("*") if p.is_file())
    if not paths:
        raise StageError("the corpus holds no file")
    for path in paths:
        if path.suffix in (".json", ".jsonl", ".ndjson"):
            for record in read_records(path):
                yield text_field(record, "text", "completion")
        elif path.suffix in (".txt", ".md", ""):
            yield read_text(path)
        else:
            raise StageError(f"{path.name}: a corpus is .txt, .md, .json or .jsonl, found {path.suffix}")


def _training_texts(rows: Path | None) -> list[str]:
    if rows is None:
        return []
    return [
        "\n".join(str(row[name]) for name in ("instruction", "input", "output"))
        for row in load_split(rows, "train")
    ]


def split_documents(documents: Sequence[str], config: TokenizeConfig) -> tuple[list[str], list[str]]:
    """Training and validation documents, the latter with `config.validation` of the characters.

    Of many documents whole ones are held out, drawn by seed; of fewer than ten, or when none is as small as
    that, the end of their text is.
    """
    total = sum(map(len, documents))
    wanted = math.floor(total * config.validation)
    if len(documents) < 10:
        return _cut(documents, total - wanted)
    order = list(range(len(documents)))
    random.Random(config.seed).shuffle(order)
    held_out: set[int] = set()
    for index in order:
        if len(documents[index]) <= wanted:
            held_out.add(index)
            wanted -= len(documents[index])
    if not held_out and wanted:  # every document is larger than the share
        return _cut(documents, total - wanted)
    train = [text for index, text in enumerate(documents) if index not in held_out]
    return train, [documents[index] for index in sorted(held_out)]


def _cut(documents: Sequence[str], characters: int) -> tuple[list[str], list[str]]:
    before, after = [], []
    for text in documents:
        before.append(text[:characters])
        after.append(text[characters:])
        characters = max(0, characters - len(text))
    return [text for text in before if text], [text for text in after if text]


def encode(tokenizer: PreTrainedTokenizerBase, documents: Sequence[str]) -> np.ndarray:
    """Tokens of all documents as int64, each document followed by the end token and preceded by nothing."""
    parts: list[np.ndarray] = []
    for start in range(0, len(documents), DOCUMENTS_PER_BATCH):
        batch = list(documents[start : start + DOCUMENTS_PER_BATCH])
        for ids in text_ids(tokenizer, batch):
            parts.append(np.array([*ids, tokenizer.eos_token_id], dtype=np.int64))
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def text_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Tokens of texts as text: nothing is put before or after, and "<|endoftext|>" in one ends nothing."""
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def make_tokenizer(
    config: TokenizeConfig, texts: Iterable[str], vocabulary: Path | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer that `config` describes; `texts` are what a trained one learns from."""
    if config.kind == "bpe":
        return train_bpe(texts, config.vocab_size)
    if config.kind == "char":
        return characters(texts)
    if config.kind == "hf":
        return load_hugging_face(config)
    if vocabulary is None:
        raise StageError("tokenize.kind=gpt2 needs vocabulary sources with encoder.json and vocab.bpe")
    return load_gpt2(vocabulary)


def train_bpe(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE as GPT-2's: no text is unknown to it, and decoding gives the text back."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _wrapped(tokenizer, pad_token=PAD)


def load_gpt2(folder: Path) -> PreTrainedTokenizerFast:
    """GPT-2's tokenizer from the two files OpenAI published; its padding is its end token, masked as such."""
    encoder, merges = (_one_file(folder, name) for name in ("encoder.json", "vocab.bpe"))
    pairs = [tuple(line.split(" ")) for line in read_text(merges).split("\n")[1:] if line]
    try:
        vocab = json.loads(read_text(encoder))
        if END not in vocab:
            raise ValueError(f"there is no {END}")
        tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=pairs))
    except StageError:
        raise
    except Exception as error:  # tokenizers raises nothing more precise
        raise StageError(f"{encoder.name} and {merges.name} are not GPT-2's: {error}") from error
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _wrapped(tokenizer, pad_token=END)


def _one_file(folder: Path, name: str) -> Path:
    found = sorted(folder.rglob(name))
    if len(found) != 1:
        raise StageError(f"expected one {name} among the vocabulary sources, found {len(found)}")
    return found[0]


def characters(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """One token for each character that occurs; others become the unknown token."""
    alphabet = sorted(set().union(*texts))
    vocab = {token: index for index, token in enumerate([END, PAD, UNKNOWN, *alphabet])}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocab, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return _wrapped(tokenizer, pad_token=PAD, unk_token=UNKNOWN)


def load_hugging_face(config: TokenizeConfig) -> PreTrainedTokenizerBase:
    """A tokenizer by name or folder; code that comes with it is never run."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            config.name, revision=config.revision or "main", trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise StageError(
            f"tokenizer {config.name!r} could not be loaded: {str(error).splitlines()[0]}"
        ) from error
    if tokenizer.eos_token_id is None:
        raise StageError(f"tokenizer {config.name!r} has no end token, so a model could not learn to stop")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _wrapped(tokenizer: Tokenizer, **special: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        **special,
    )
