"""Configuration of what is read: downloads, rows, tokens."""

import codecs
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tasks.config.base import KEYED_IF_SET, OUTSIDE_KEY, Fraction, Positive, Seed, StageConfig
from tasks.config.makers import MAKERS
from tasks.config.mixtures import Mixture, Weight


def _known_encoding(name: str) -> str:
    """The one name of an encoding, of which most have several."""
    try:
        if name and not isinstance(codecs.getincrementaldecoder(name)().decode(b"", True), str):
            raise LookupError
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name!r} is no encoding of text; known are utf-8, utf-16-le, latin-1, cp1252, gb18030, "
            "shift_jis and others of Python's"
        ) from error
    return codecs.lookup(name).name if name else ""


Encoding = Annotated[
    str,
    AfterValidator(_known_encoding),
    Field(description="of text files that have no byte-order mark; default: UTF-8, and no other is guessed"),
]
JsonField = Annotated[
    str,
    Field(description="the key of a JSON document under which its rows are; with dots where it is deeper"),
]


class Source(StageConfig):
    """One input: an address with its fallbacks, a path, a Hugging Face dataset, or data made here."""

    name: Annotated[str, Field(description="file name of the result, and its name in a mirror")] = ""
    urls: Annotated[
        tuple[str, ...],
        Field(description="addresses of one file; the next is tried where one fails"),
        OUTSIDE_KEY,
    ] = ()
    path: Annotated[Path | None, Field(description="a file or a folder of this machine"), OUTSIDE_KEY] = None
    dataset: Annotated[str | None, Field(description="a Hugging Face dataset, such as owner/name")] = None
    subset: Annotated[str | None, Field(description="of the dataset: its configuration's name")] = None
    split: Annotated[str, Field(description="of the dataset")] = "train"
    revision: Annotated[str | None, Field(description="commit or tag of the dataset")] = None
    labels: Annotated[
        Literal["names", "numbers"],
        Field(description="of the dataset: how labels are given that it numbers"),
        KEYED_IF_SET,
    ] = "names"
    made: Annotated[
        Literal[*MAKERS] | None,
        Field(
            description="data that needs no network. "
            + "; ".join(f"{name}: {maker.description}" for name, maker in MAKERS.items())
        ),
    ] = None
    rows: Annotated[
        Positive | None,
        Field(description="of the dataset: how many rows are read, from the first on; null: all"),
    ] = None
    seed: Annotated[Seed, Field(description="of made data: which rows are drawn")] = 123
    count: Annotated[int, Field(gt=0, description="of made data: how many rows are made")] = 1000
    sha256: Annotated[
        str | None,
        Field(pattern="^[0-9a-f]{64}$", description="what the file must have; another file is refused"),
    ] = None
    size: Annotated[int | None, Field(ge=0, description="bytes that the file must have")] = None
    unzip: Annotated[bool, Field(description="unpack the file, which is a ZIP archive")] = False
    weight: Annotated[
        Weight | None,
        Field(
            description="how much is trained on it, as against the other sources, which need one too: of a "
            "corpus a share of the tokens, of instructions of the training rows; left out: all of it, once "
            "an epoch"
        ),
        OUTSIDE_KEY,
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _name_from_origin(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or raw.get("name"):
            return raw
        urls = raw.get("urls")
        address = str(urls[0]) if isinstance(urls, list | tuple) and urls else ""
        origins = (_without_query(address), raw.get("path"), raw.get("dataset"), raw.get("made"))
        origin = next((str(value) for value in origins if value), "")
        suffix = ".jsonl" if raw.get("dataset") or raw.get("made") else ""
        return raw | {"name": PurePosixPath(origin.rstrip("/")).name + suffix}

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [field for field in ("urls", "path", "dataset", "made") if getattr(self, field)]
        if len(given) != 1:
            found = ", ".join(given) or "none"
            raise ValueError(f"a source needs exactly one of urls, path, dataset, made; found {found}")
        if self.rows is not None and self.dataset is None:
            raise ValueError(f"rows goes with dataset, not with {given[0]}; leave it out")
        if self.labels != "names" and self.dataset is None:
            raise ValueError(f"labels goes with dataset, not with {given[0]}; leave it out")
        parts = PurePosixPath(self.name).parts
        if not parts or ".." in parts or PurePosixPath(self.name).is_absolute() or "\\" in self.name:
            raise ValueError(f"a source's name must stay inside its folder; found {self.name!r}")
        return self


class DownloadConfig(StageConfig):
    """Files to download or copy. A text stands for one source: a path, an address, or hf:owner/name."""

    sources: Annotated[
        tuple[Source, ...], Field(min_length=1, description="one or more, whose files are read together")
    ]
    mirror: Annotated[
        str | None, Field(description="a folder or base address that is looked in first"), OUTSIDE_KEY
    ] = None
    timeout: Annotated[float, Field(gt=0, description="seconds without a byte"), OUTSIDE_KEY] = 30.0
    attempts: Annotated[
        Positive, Field(description="tries of a request before the next address is asked"), OUTSIDE_KEY
    ] = 4

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            return {"sources": [source_from_text(raw)]}
        return raw

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources share the name {twice[0]!r}")
        return self

    @model_validator(mode="after")
    def _all_are_weighted_or_none(self) -> Self:
        if lacking := [source.name for source in self.sources if source.weight is None]:
            if weighted := [source.name for source in self.sources if source.weight is not None]:
                raise ValueError(
                    f"{', '.join(weighted)} has a weight, and {', '.join(lacking)} has none; give one to "
                    "each source, or to none"
                )
        elif not any(source.weight for source in self.sources):
            raise ValueError("no source has a weight above 0; give one to at least one of them")
        return self

    @property
    def weights(self) -> dict[str, float] | None:
        """The weights of the sources by their names; None where they have none."""
        if self.sources[0].weight is None:
            return None
        return {source.name: source.weight for source in self.sources}


def source_from_text(text: str) -> dict[str, Any]:
    """The source that a single string stands for. In a path no character has a meaning of its own."""
    if text.startswith(("http://", "https://")):
        return {"urls": [text], "unzip": _without_query(text).lower().endswith(".zip")}
    if text.startswith("hf:"):
        return {"dataset": text.removeprefix("hf:")}
    return {"path": text, "unzip": text.lower().endswith(".zip")}


def _without_query(address: str) -> str:
    return address.partition("#")[0].partition("?")[0]


Malformed = Literal["stop", "set-aside"]

RowFormat = Literal[
    "alpaca",
    "prompt-completion",
    "chat",
    "preference",
    "classification",
    "multi-label",
    "tokens",
    "questions",
    "choices",
    "source-target",
    "text",
]


class RowsConfig(StageConfig):
    """Reading rows to fine-tune on, and splitting them."""

    format: Annotated[Literal["auto"] | RowFormat, Field(description="auto: recognised from the columns")] = (
        "auto"
    )
    columns: Annotated[
        dict[str, str],
        Field(
            description="what the columns are called in the files: {instruction: question, output: answer}; "
            "with dots for what stands deeper: {source: translation.en, target: translation.de}"
        ),
    ] = Field(default_factory=dict)
    prefix: Annotated[
        str,
        Field(description="put before every source of source-target rows: T5's tasks, as 'summarize: '"),
    ] = ""
    files: Annotated[str, Field(min_length=1, description="only files whose path matches this pattern")] = "*"
    file_type: Annotated[
        Literal["auto", "json", "jsonl", "csv", "tsv", "parquet", "arrow", "conll", "text"],
        Field(description="auto: from the file's ending"),
    ] = "auto"
    encoding: Encoding = ""
    field: JsonField = ""
    header: Annotated[
        tuple[str, ...],
        Field(description="names of the columns of CSV, TSV or CoNLL files, which have no header line"),
    ] = ()
    separator: Annotated[
        str,
        Field(description="of format: multi-label, what stands between labels that are one text"),
        KEYED_IF_SET,
    ] = ""
    quoting: Annotated[
        Literal["auto", "quotes", "none"],
        Field(
            description="of CSV and TSV; auto: quotes may hold a CSV's field together, in TSV they are text "
            "unless its first hundred lines are written with quotes like a CSV's"
        ),
    ] = "auto"
    malformed: Annotated[
        Malformed,
        Field(description="what a malformed row does: end the stage, or be kept apart and counted"),
    ] = "stop"
    group_by: Annotated[
        str | None,
        Field(
            min_length=1,
            description="a column whose equal values mark rows of one source (a conversation, a document), "
            "which stay in one split; shared turns and passages are found without it",
        ),
    ] = None
    balance: Annotated[
        bool, Field(description="of labelled texts: as many of each label as there are of the rarest")
    ] = False
    splits: Annotated[
        Literal["auto", "own", "drawn"],
        Field(
            description="own: the files are splits already and say so in their names (train, validation, "
            "test); drawn: by the shares here; auto: own where every file is of a split, train and test are "
            "there, else drawn"
        ),
    ] = "auto"
    train: Annotated[Fraction, Field(description="share of the rows to train on")] = 0.85
    validation: Annotated[
        Fraction,
        Field(description="share of the rows that choose the best weights; what is left is the test split"),
    ] = 0.05
    test_synthetic: Annotated[
        bool,
        Field(
            description="rows that a language model made may be test and validation rows, which the card "
            "says; else they are trained on alone"
        ),
    ] = False
    shuffle: Annotated[
        bool, Field(description="draw the splits at random; false: in the order of the files")
    ] = True
    mixture: Annotated[
        Mixture | None,
        Field(
            description="weights of the sources: shares of the training rows that are of each; in a profile "
            "they stand at the sources (instructions.sources), and this follows; left out: every row once"
        ),
        KEYED_IF_SET,
    ] = None
    seed: Seed = 123

    @model_validator(mode="after")
    def _separator_is_of_labels(self) -> Self:
        if self.separator and self.format != "multi-label":
            raise ValueError(f"separator goes with format: multi-label; format is {self.format}")
        return self

    @model_validator(mode="after")
    def _mixes_or_balances(self) -> Self:
        if self.mixture is not None and self.balance:
            raise ValueError("balance and mixture both say which rows are trained on; choose one")
        return self

    @model_validator(mode="after")
    def _leaves_a_test_split(self) -> Self:
        if self.train <= 0 or self.train + self.validation >= 1:
            raise ValueError(
                f"train ({self.train}) and validation ({self.validation}) must leave rows for the test split"
            )
        return self


class TokenizeConfig(StageConfig):
    """The tokenizer, and the corpus as tokens."""

    encoding: Encoding = ""
    field: JsonField = ""
    kind: Annotated[
        Literal["bpe", "gpt2", "char", "word", "hf"],
        Field(
            description="bpe: trained on the corpus; gpt2: from encoder.json and vocab.bpe; "
            "char: one token a character; word: one a word or punctuation mark, rare ones unknown; hf: any "
            "Hugging Face tokenizer by name or folder"
        ),
    ] = "bpe"
    vocab_size: Annotated[
        int,
        Field(
            ge=258,
            description="for bpe: 256 bytes, end, pad, and merges; for word: end, pad, unknown, and the most "
            "frequent words",
        ),
    ] = 4096
    min_frequency: Annotated[
        Positive, Field(description="for word: how often a word occurs in the training split to be known")
    ] = 1
    name: Annotated[str | None, Field(description="for hf: owner/name or a folder")] = None
    revision: Annotated[str | None, Field(description="for hf: commit or tag of the tokenizer")] = None
    mask_token: Annotated[
        bool,
        Field(
            description="for pretrain.objective=masked, which it follows: a mask token, and one before and "
            "behind each text; a tokenizer trained here gets them, kind hf must have them"
        ),
    ] = False
    training_bytes: Annotated[
        Positive,
        Field(description="a tokenizer trained here reads at most so much text, spread over the corpus"),
    ] = 50_000_000
    validation: Annotated[Fraction, Field(description="share of the corpus held out, by characters")] = 0.1
    sources: Annotated[
        tuple[str, ...],
        Field(
            description="names of the corpus' sources, where each is split and counted by itself; in a "
            "profile with weights of the sources this follows"
        ),
        KEYED_IF_SET,
    ] = ()
    malformed: Annotated[
        Malformed,
        Field(
            description="what a row or text file of the corpus does that is malformed or empty: end the "
            "stage, or be kept apart and counted"
        ),
    ] = "stop"
    include_rows: Annotated[
        bool, Field(description="a tokenizer trained here also learns from the training rows")
    ] = False
    seed: Seed = 123

    @model_validator(mode="after")
    def _hf_needs_a_name(self) -> Self:
        if (self.kind == "hf") != (self.name is not None):
            raise ValueError("tokenize.name goes with tokenize.kind=hf, and kind=hf needs it")
        if self.min_frequency > 1 and self.kind != "word":
            raise ValueError("tokenize.min_frequency goes with tokenize.kind=word")
        return self

    @model_validator(mode="after")
    def _has_room_for_a_mask(self) -> Self:
        if self.mask_token and self.kind == "gpt2":
            raise ValueError(
                "GPT-2's vocabulary has no mask token, which a masked language model needs. Set "
                "tokenize.kind to bpe, char or word, or to hf with the name of a masked model"
            )
        return self
