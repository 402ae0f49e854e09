"""Tokenizers, and the corpus as a stream of tokens.

Whatever the kind, what is saved is a Hugging Face tokenizer folder that `AutoTokenizer` loads.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tasks.config import TokenizeConfig
from tasks.data.reading import read_text, short
from tasks.data.token_files import id_count, write_facts
from tasks.errors import StageError
from tasks.machine.json_files import write_lines
from tasks.machine.proxies import require_way_to_hub
from tasks.record.manifest import require_unaltered
from tasks.record.stage import StageRun
from tasks.record.tracking import mlflow_name
from tasks.rows import distinct_texts_of, texts_of
from tasks.tokenize.corpus import (
    AT_SPACES,
    BETWEEN_WORDS,
    LONGEST,
    Corpus,
    Measures,
    Pieces,
    TextPart,
    cut,
    learnable,
    measure,
    sample,
    split_parts,
    training_lengths,
    with_near_kinds,
)
from tasks.tokenize.cuts import cuts
from tasks.tokenize.first_tokens import first_bytes
from tasks.tokenize.masks import require_mask, special_ids, with_mask
from tasks.tokenize.split_writer import SplitWriter
from tasks.tokenize.word_level import END, PAD, characters, words, wrapped

SET_ASIDE = "set_aside.jsonl"
SMALL = 2**23  # characters of a corpus whose near duplicates are looked for; of a larger one, equal texts
SHOWN = 1000  # rows of a table in MLflow

PART = 2**14  # characters; dozens go into a batch, so that every core has some
BATCH = 2**19  # characters; a token being encoded takes some hundred bytes
PART_COST = 256  # characters that a part's own memory amounts to
IN_FLIGHT = 2  # batches


def tokenize(
    config: TokenizeConfig,
    run: StageRun,
    *,
    corpus: Path | None = None,
    vocabulary: Path | None = None,
    rows: Path | None = None,
) -> None:
    """Write `tokenizer/`, `tokens.json`, and the token files of both splits (tasks/data/token_files.py).

    `set_aside.jsonl` names what of the corpus is malformed or empty, if any and if that is to be kept apart.
    Without a corpus the texts of the training rows are it. `vocabulary` holds `encoder.json` and `vocab.bpe`
    for kind gpt2. A tokenizer that is trained here also reads the training split of `rows`, so that the
    words of the instructions get tokens. Every document is followed by the end token. The corpus is read
    three times (a trained tokenizer reads its sample between the measuring and the encoding) and is never in
    memory: that holds some batches of text and tokens, eight bytes a document, and the largest row (the
    whole file for `.json`). A tokenizer that may not cut a document (see `cuts`) holds the largest document.
    Raises StageError for an empty or malformed corpus.
    """
    documents = Corpus(corpus, config) if corpus else None
    if config.sources and not documents:
        raise StageError("tokenize.sources names sources of a corpus, and there is none; leave it out")
    if documents:
        pieces = documents.pieces
    else:
        run.phase("looking for near duplicates among the texts")
        pieces = partial(enumerate, distinct_texts_of(rows))
    measures = measure(pieces(), lambda done: run.progress(done, 0, "bytes", "measuring the corpus"))
    if documents and sum(measures.lengths) <= SMALL:
        measures = with_near_kinds(measures, pieces())
    if documents and config.sources:
        measures = measures._replace(sources=documents.documents_of)
    set_aside = _tell_set_aside(documents, len(measures.lengths), run) if documents else 0
    tokenizer = make_tokenizer(
        config, _texts_to_learn(config, run, pieces, measures, rows if corpus else None), vocabulary
    )
    if config.kind == "hf":
        require_unaltered("tokenize.name", Path(config.name), run.fingerprints.get("tokenizer"))
    tokenizer.save_pretrained(run.out / "tokenizer")
    run.log_metrics({"vocab_size": id_count(tokenizer)})
    training = training_lengths(measures, config)
    parts = split_parts(pieces(), measures.lengths, training)
    facts: dict[str, object] = {
        "dtype": np.dtype(np.uint16 if id_count(tokenizer) <= 2**16 else np.uint32).name,
        "vocab_size": id_count(tokenizer),
        "end_token": tokenizer.eos_token_id,
        "documents": len(measures.lengths),
        "set_aside": set_aside,
        **({"special": special_ids(tokenizer)} if config.mask_token else {}),
    }
    long_words: list[TextPart] = []
    done, started, first = 0, time.monotonic(), first_bytes(tokenizer)
    with ExitStack() as files:
        splits = {
            name: files.enter_context(
                SplitWriter(run.out, name, facts["dtype"], facts["end_token"], tokenizer.unk_token_id)
            )
            for name in ("train", "validation")
        }
        for batch in encode(tokenizer, parts):
            for part, ids in batch:
                size = len(part.text.encode())
                split = splits[part.split]
                begun = first(ids, part.text) if split.begins else 0
                split.add(ids, size, part.ends, begun, measures.source_of(part.document))
                done += size
                long_words += [part] if part.half_a_word else []
            rate = done / max(time.monotonic() - started, 1e-9) / 1e6
            run.progress(done, measures.bytes, "bytes", f"encoding, {rate:.1f} MB/s")
    for name, split in splits.items():
        facts[name] = split.whole.facts()
        run.log_metrics({f"{name}_tokens": split.whole.tokens})
        if config.kind == "word" or split.whole.unknown:
            facts[name]["unknown"] = split.whole.unknown
            run.log_metrics({f"{name}_unknown_share": split.whole.unknown_share})
        if config.sources:
            facts[name]["sources"] = {source: own.facts() for source, own in split.sources.items()}
            run.log_metrics(
                {mlflow_name(f"{name}_tokens/{source}"): own.tokens for source, own in split.sources.items()}
            )
    if config.sources:
        _require_each_source(config, splits)
    _tell_unknown(splits, run)
    _tell_long_words(long_words, documents, run)
    write_facts(run.out, facts)


def _tell_set_aside(corpus: Corpus, documents: int, run: StageRun) -> int:
    """How many documents are set aside, with where each stands kept in a file.

    Raises StageError when they are so many that it is rather the format that is wrong.
    """
    lines = [{"where": where, "why": why} for where, why in corpus.set_aside.items()]
    run.log_metrics({"documents_set_aside": len(lines)})
    if lines:
        corpus.require_sound(documents)
        write_lines(run.out / SET_ASIDE, lines)
        run.log_table(lines[:SHOWN], "set_aside.json")
        first = f"{lines[0]['where']}: {lines[0]['why']}"
        run.say(
            f"{len(lines):,} of {len(lines) + documents:,} documents are set aside, the first, {first} "
            f"({SET_ASIDE} names all)"
        )
    return len(lines)


def _require_each_source(config: TokenizeConfig, splits: Mapping[str, SplitWriter]) -> None:
    """Raise StageError for a source of which a split holds nothing: nothing to train on, or no loss of it."""
    for split, writer in splits.items():
        if split == "validation" and not config.validation:
            continue
        lacking = [name for name in config.sources if name not in writer.sources]
        if lacking:
            raise StageError(
                f"of the source {lacking[0]!r} the {split} split holds no document: it is too small for "
                f"tokenize.validation={config.validation}, or its text stands in other sources too. Give it "
                "more text of its own, or leave the source out"
            )


def _tell_unknown(splits: Mapping[str, SplitWriter], run: StageRun) -> None:
    """Say how many of the texts' tokens stand for what the vocabulary lacks, and can never be written."""
    shares = [
        f"{split.whole.unknown_share:.1%} of {name}" for name, split in splits.items() if split.whole.unknown
    ]
    if shares:
        run.say(f"the vocabulary lacks {' and '.join(shares)}: so many tokens are the unknown one")


def _tell_long_words(parts: Sequence[TextPart], corpus: Corpus | None, run: StageRun) -> None:
    """Say where words were cut: `parts` end within one."""
    run.log_metrics({"words_cut": len(parts)})
    if parts:
        first = parts[0]
        where = corpus.where(first.document) if corpus else f"text {first.document}"
        run.say(
            f"text without a space or another end of a word for {LONGEST:,} characters was cut, "
            f"{len(parts):,} times, the first in {where}: {short(first.text[-LONGEST:])}"
        )


def _texts_to_learn(
    config: TokenizeConfig,
    run: StageRun,
    pieces: Callable[[], Pieces],
    measures: Measures,
    rows: Path | None,
) -> Iterator[str]:
    """What a tokenizer that is trained here reads: words of a share of the corpus, characters of it all."""
    run.progress(0, measures.bytes, "bytes", "training the tokenizer")
    if config.kind == "char":
        yield from (text for _, text in pieces())
    elif config.kind == "word":  # of what is held out none, or its share of unknown words would say little
        parts = split_parts(pieces(), measures.lengths, training_lengths(measures, config))
        train = (part for part in parts if part.split == "train")
        yield from sample(train, measures.bytes, config.training_bytes, AT_SPACES)
    else:
        whole = split_parts(pieces(), measures.lengths, measures.lengths)
        yield from sample(whole, measures.bytes, config.training_bytes)
    if rows:
        yield from learnable(texts_of(rows), AT_SPACES if config.kind == "word" else BETWEEN_WORDS)
    run.phase("training the tokenizer: learning its tokens")


def encode(
    tokenizer: PreTrainedTokenizerBase, parts: Iterable[TextPart]
) -> Iterator[list[tuple[TextPart, Sequence[int]]]]:
    """Batches of the parts, cut to a size that bounds memory, each with its tokens.

    Put together, the tokens of a document are those of its whole text, but where a long word was cut (see
    `cut`). The tokenizers library encodes the parts of a batch on every core; while the caller writes one
    batch the next are being encoded.
    """
    encode_batch = _batch_encoder(tokenizer)
    coming: deque[tuple[list[TextPart], Future]] = deque()
    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        for batch in _batches(cut(parts, cuts(tokenizer), PART)):
            coming.append((batch, threads.submit(encode_batch, [part.text for part in batch])))
            if len(coming) > IN_FLIGHT:
                batch, ids = coming.popleft()
                yield list(zip(batch, ids.result(), strict=True))
        for batch, ids in coming:
            yield list(zip(batch, ids.result(), strict=True))


def _batches(parts: Iterable[TextPart]) -> Iterator[list[TextPart]]:
    batch: list[TextPart] = []
    cost = 0
    for part in parts:
        batch.append(part)
        cost += len(part.text) + PART_COST
        if cost >= BATCH:
            yield batch
            batch, cost = [], 0
    if batch:
        yield batch


def _batch_encoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[str]], list[list[int]]]:
    """As `text_ids`, but of a fast tokenizer the library underneath, in two thirds of the time."""
    if not tokenizer.is_fast:
        return lambda texts: text_ids(tokenizer, texts)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return lambda texts: [one.ids for one in backend.encode_batch_fast(texts, add_special_tokens=False)]


def text_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Tokens of texts as text: nothing is put before or after, and "<|endoftext|>" in one ends nothing."""
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def make_tokenizer(
    config: TokenizeConfig, texts: Iterable[str], vocabulary: Path | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer that `config` describes; `texts` are what a trained one learns from."""
    if config.kind == "bpe":
        made = train_bpe(texts, config.vocab_size - 2 * config.mask_token)
        return with_mask(made) if config.mask_token else made
    if config.kind == "char":
        made = characters(texts)
        return with_mask(made) if config.mask_token else made
    if config.kind == "word":
        made = words(texts, config.vocab_size - 2 * config.mask_token, config.min_frequency)
        return with_mask(made) if config.mask_token else made
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
    return wrapped(tokenizer, pad_token=PAD)


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
    return wrapped(tokenizer, pad_token=END)


def _one_file(folder: Path, name: str) -> Path:
    found = sorted(folder.rglob(name))
    if len(found) != 1:
        raise StageError(f"expected one {name} among the vocabulary sources, found {len(found)}")
    return found[0]


def load_hugging_face(config: TokenizeConfig) -> PreTrainedTokenizerBase:
    """A tokenizer by name or folder; code that comes with it is never run."""
    if not Path(config.name).is_dir():
        require_way_to_hub()
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            config.name, revision=config.revision or "main", trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise StageError(
            f"tokenizer {config.name!r} could not be loaded: {str(error).splitlines()[0]}"
        ) from error
    if config.mask_token:
        require_mask(tokenizer, config.name)
        if tokenizer.eos_token_id is None:
            tokenizer.eos_token = tokenizer.sep_token
    if tokenizer.eos_token_id is None:
        raise StageError(f"tokenizer {config.name!r} has no end token, so a model could not learn to stop")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
