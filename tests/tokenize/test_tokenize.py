"""Tokenizers and token files: nothing lost, nothing added but the end token, nothing reused."""

import json
import subprocess
import sys
import threading
import time
from functools import cache
from itertools import count, pairwise
from math import inf
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

import tasks.data.reading
import tasks.tokenize.stage
from tasks.config import DownloadConfig, TokenizeConfig
from tasks.data.token_files import load_tokens
from tasks.download.stage import fingerprints
from tasks.errors import StageError
from tasks.preflight.splits import documents_apart
from tasks.record.manifest import sha256_of_tree
from tasks.record.work import Stage, stage_key
from tasks.rows import write_rows
from tasks.tokenize.corpus import ANYWHERE, BETWEEN_WORDS, LONGEST, NOWHERE, TextPart
from tasks.tokenize.first_tokens import first_bytes
from tasks.tokenize.split_writer import SplitWriter
from tasks.tokenize.stage import (
    END,
    PAD,
    characters,
    cuts,
    encode,
    load_gpt2,
    make_tokenizer,
    text_ids,
    tokenize,
    train_bpe,
)
from tasks.tokenize.word_level import EVERY_CHARACTER
from tests.commands import CHECKOUT

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
STORY = "The quick brown fox jumps over the lazy dog. " * 20
SAMPLES = [
    "",
    " ",
    "fox",
    "  the\n\tfox ",
    "naïve 中文 🙂 e\u0301",
    "a\u2028b\x00c",
    "\r\n",
    "don't  . stop !",
]


@pytest.fixture(scope="module")
def bpe():
    return train_bpe([STORY, "naïve 中文"], 300)


@pytest.fixture(scope="module")
def gpt2(shared_data):
    return load_gpt2(shared_data / "gpt2")


@pytest.fixture
def corpus(tmp_path):
    def write(**files):
        folder = tmp_path / "corpus"
        folder.mkdir()
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text, encoding="utf-8", newline="")
        return folder

    return write


def tokens_in(tokenizer, documents):
    """The ids of documents, each given at once, without the end tokens."""
    found = [[] for _ in documents]
    number = 0
    for batch in encode(tokenizer, [TextPart("train", text, True) for text in documents]):
        for part, ids in batch:
            found[number] += ids
            number += part.ends
    return found


def tokens_of(run, split):
    facts = json.loads((run.out / "tokens.json").read_text())
    return np.fromfile(run.out / f"{split}.bin", dtype=facts["dtype"]).tolist()


# Byte-level BPE trained here


@given(text=TEXT)
def test_a_trained_bpe_gives_any_text_back(bpe, text):
    assert bpe.decode(bpe(text)["input_ids"]) == text


@given(texts=st.lists(TEXT.filter(str.strip), min_size=1, max_size=5))
def test_pitfall_6_end_token_follows_documents_and_only_them(bpe, texts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("split")
    with SplitWriter(folder, "train", "uint16", bpe.eos_token_id) as split:
        for ids in tokens_in(bpe, texts):
            split.add(ids, 1, True)
    tokens = np.fromfile(folder / "train.bin", dtype=np.uint16).tolist()
    ends = [index for index, token in enumerate(tokens) if token == bpe.eos_token_id]
    assert [bpe.decode(tokens[start + 1 : end]) for start, end in pairwise([-1, *ends])] == texts
    assert ends[-1] == len(tokens) - 1
    assert np.fromfile(folder / "train.ends.bin", dtype="<u8").tolist() == [end + 1 for end in ends]


def test_trained_bpe_has_its_size_and_special_tokens_first(bpe):
    assert len(bpe) == 300
    assert bpe.convert_tokens_to_ids([END, PAD]) == [0, 1]
    assert (bpe.eos_token_id, bpe.pad_token_id) == (0, 1)


def test_pitfall_7_padding_is_not_the_end_token(bpe):
    assert bpe.pad_token_id != bpe.eos_token_id
    letters = characters(["ab"])
    assert letters.pad_token_id != letters.eos_token_id


def test_smallest_vocabulary_is_the_bytes_and_the_special_tokens():
    smallest = TokenizeConfig.model_fields["vocab_size"].metadata[0].ge
    assert smallest == 258
    assert len(train_bpe([STORY], smallest)) == smallest


def test_training_twice_gives_the_same_bytes(tmp_path):
    for name in ("one", "other"):
        train_bpe([STORY, "naïve 中文"], 400).save_pretrained(tmp_path / name)
    assert sha256_of_tree(tmp_path / "one") == sha256_of_tree(tmp_path / "other")


# Memory

TOKENIZE_IN_A_PROCESS_OF_ITS_OWN = """
import sys
from pathlib import Path
from pydoc_data.topics import topics
from tasks.config import TokenizeConfig
from tasks.record.stage import StageRun
from tasks.tokenize.stage import tokenize

folder, size = Path(sys.argv[1]), int(sys.argv[2])
(folder / "corpus").mkdir()
text = "".join(topics.values())[:500_000]
with (folder / "corpus" / "a.txt").open("w", encoding="utf-8") as file:
    for _ in range(size // len(text)):
        file.write(text)
run = StageRun(out=folder / "output", auxiliary=folder / "auxiliary", checkpoint=folder / "checkpoint")
config = TokenizeConfig(vocab_size=2000, training_bytes=1_000_000)
tokenize(config, run, corpus=folder / "corpus")
[peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
print(peak.split()[1])
"""  # not resource.getrusage: its maximum is never below that of the process that started this one


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    peaks = {}
    for megabytes in (4, 12):
        folder = tmp_path / str(megabytes)
        folder.mkdir()
        command = [sys.executable, "-c", TOKENIZE_IN_A_PROCESS_OF_ITS_OWN, str(folder), f"{megabytes}000000"]
        peaks[megabytes] = int(subprocess.check_output(command, cwd=CHECKOUT)) // 1024
    assert peaks[12] - peaks[4] < 60, f"{peaks} MB"  # 900 when documents are encoded whole


# Characters


def test_every_character_of_the_corpus_is_one_token():
    letters = characters(["hello\n", "o ü\u2028中"])
    assert len(letters) == 3 + len(set("hello\no ü\u2028中"))
    ids = letters("hello ü中\u2028\n")["input_ids"]
    assert len(ids) == 10
    assert letters.decode(ids) == "hello ü中\u2028\n"


@given(text=st.text(alphabet="ab \n\tüé中🙂e\u0301"))
def test_character_level_gives_any_text_of_its_alphabet_back(letters, text):
    [ids] = tokens_in(letters, [text])
    assert len(ids) == len(text)
    assert letters.decode(ids) == text


@pytest.fixture(scope="module")
def letters():
    return characters(["ab \n\tüé中🙂e\u0301"])


def test_character_that_did_not_occur_becomes_the_unknown_token():
    letters = characters(["ab"])
    assert letters("axb")["input_ids"] == [3, letters.unk_token_id, 4]


def test_tinyshakespeare_has_65_characters(shared_data):
    text = (shared_data / "tinyshakespeare.txt").read_text(encoding="utf-8")
    letters = characters([text])
    assert len(letters) == 65 + 3
    assert letters("First")["input_ids"] == [21, 50, 59, 60, 61]


# GPT-2's


def test_gpt2_gives_the_ids_that_openai_published(gpt2, shared_data):
    assert gpt2("Hello, world!")["input_ids"] == [15496, 11, 995, 0]
    assert gpt2.convert_tokens_to_ids(END) == gpt2(END)["input_ids"][0] == gpt2.eos_token_id == 50256
    assert len(gpt2) == 50257
    verdict = (shared_data / "the-verdict.txt").read_text(encoding="utf-8")
    ids = gpt2(verdict)["input_ids"]
    assert len(ids) == 5145
    assert ids[:8] == [40, 367, 2885, 1464, 1807, 3619, 402, 271]
    assert gpt2.decode(ids) == verdict


@given(text=TEXT)
def test_gpt2_gives_any_text_back(gpt2, text):
    assert gpt2.decode(gpt2(text)["input_ids"]) == text


REAL_TEXT = {
    "English": "It's what they'd said: we'll see, won't we? I'm sure you've 1,024 \"reasons\" -- or 3.14...",
    "German": "Fünf größere Straßen führen über den Fluß; »Wohin?«, fragte er. 12.345,67 €",
    "Russian": "Мы шли по берегу реки, и дождь всё не кончался. Что же дальше?",
    "Greek": "Ο ήλιος ανέτειλε πάνω από τη θάλασσα· κανείς δεν μίλησε.",
    "Chinese": "春天来了，河边的柳树都绿了。一九八四年，他们三个人住在北京。",
    "Japanese": "雨が降っているので、今日は家で本を読みます。カタカナも「少し」。",
    "Korean": "오늘은 비가 와서 집에서 책을 읽습니다. 내일은 갈까요?",
    "Arabic": "ذهب الولد إلى المدرسة صباحًا، ثم عاد إلى البيت. ١٢٣٤٥",
    "Hebrew": "הילד הלך לבית הספר בבוקר, ואחר כך חזר הביתה.",
    "Hindi": "लड़का सुबह स्कूल गया और शाम को घर लौट आया। क्या हुआ? १२३",
    "Thai": "วันนี้ฝนตกหนักมาก เราจึงอยู่บ้านอ่านหนังสือ",
    "emoji": "👩\u200d👩\u200d👧\u200d👦 family 🙂🙂🙃 👍🏽 flags 🇫🇷🇯🇵 ❤\ufe0f\u200d🔥!",
    "code": "def f(x: int) -> int:\n\tif x_1 != 0:\n        return {'a': [x**2, ~x]}  # it's\n\n\nclass A:",
    "whitespace": " a  b   c\t\td \n \n\n e\r\n f\u00a0g\u2003 h\u3000i\u2028j\u0085k\u200bl   ",
    "contractions": "'S 's's ''t 'll'LL he'd've y'all'd 1's 'm9 '' '",
    "marks": "e\u0301 a\u0308\u0323 \u00bd \u2167 x\u00b2 \u00ad\x00\x1c\ufeff\ufffd",
}


@pytest.fixture(scope="module")
def published(shared_data):
    """Text to ids as OpenAI's encoder.py does it, from their two files and by their rules alone."""
    vocab = json.loads((shared_data / "gpt2" / "encoder.json").read_text(encoding="utf-8"))
    lines = (shared_data / "gpt2" / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:]
    ranks = {tuple(line.split()): rank for rank, line in enumerate(filter(None, lines))}
    pattern = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {byte: chr(byte) for byte in printable} | {b: chr(256 + n) for n, b in enumerate(others)}

    @cache
    def merged(word):
        symbols = [alphabet[byte] for byte in word.encode()]
        while len(symbols) > 1:
            best = min(pairwise(symbols), key=lambda pair: ranks.get(pair, inf))
            if best not in ranks:
                break
            joined = []
            for symbol in symbols:  # a symbol that was joined is longer than a half, so none joins twice
                if joined and (joined[-1], symbol) == best:
                    joined[-1] += symbol
                else:
                    joined.append(symbol)
            symbols = joined
        return [vocab[symbol] for symbol in symbols]

    return lambda text: [token for word in pattern.findall(text) for token in merged(word)]


@pytest.mark.parametrize("name", REAL_TEXT)
@pytest.mark.parametrize("part", [1, 2**14])
def test_gpt2_equals_the_published_algorithm_on_many_scripts(gpt2, published, name, part, monkeypatch):
    monkeypatch.setattr(tasks.tokenize.stage, "PART", part)
    assert tokens_in(gpt2, [REAL_TEXT[name]]) == [published(REAL_TEXT[name])]


def test_gpt2_equals_the_published_algorithm_on_all_and_a_story(gpt2, published, shared_data):
    story = (shared_data / "the-verdict.txt").read_text(encoding="utf-8")
    for text in ("".join(REAL_TEXT.values()), story):
        assert tokens_in(gpt2, [text]) == [published(text)]


@given(TEXT | st.text(" \n\t'stredvmlazé中1²٣.,🙂\u0301\u00a0"))
def test_gpt2_equals_the_published_algorithm_on_any_text(gpt2, published, text):
    assert tokens_in(gpt2, [text]) == [published(text)]


def test_gpt2_needs_its_two_files(tmp_path):
    with pytest.raises(StageError, match=r"expected one encoder\.json among the vocabulary sources, found 0"):
        load_gpt2(tmp_path)
    with pytest.raises(StageError, match="kind=gpt2 needs vocabulary sources"):
        make_tokenizer(TokenizeConfig(kind="gpt2"), [])


VOCAB = json.dumps({END: 0, "a": 1, "b": 2, "ab": 3})


@pytest.mark.parametrize(
    ("encoder", "merges", "fault"),
    [
        (VOCAB[:-4], "#version\na b\n", "Expecting"),
        ('{"a": 0}', "#version\n", "there is no <|endoftext|>"),
        (VOCAB, "#version\na x\n", "out of vocabulary"),
        (VOCAB, "#version\nab\n", ""),
        ("3", "#version\n", ""),
    ],
    ids=[
        "half a file",
        "no end token",
        "a merge of an unknown token",
        "a merge that is no pair",
        "no mapping",
    ],
)
def test_files_that_are_not_gpt2s_are_named(tmp_path, encoder, merges, fault):
    (tmp_path / "encoder.json").write_text(encoder)
    (tmp_path / "vocab.bpe").write_text(merges)
    with pytest.raises(StageError, match=rf"encoder\.json and vocab\.bpe are not GPT-2's: .*{fault}"):
        load_gpt2(tmp_path)


# Any Hugging Face tokenizer


@pytest.fixture
def saved(bpe, tmp_path):
    """A tokenizer folder as others publish them: it puts a token at the beginning of every text."""
    folder = tmp_path / "saved"
    bpe.save_pretrained(folder)
    other = AutoTokenizer.from_pretrained(folder)
    other.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", special_tokens=[(END, bpe.eos_token_id)]
    )
    other.save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("fox")["input_ids"][0] == bpe.eos_token_id
    return folder


def test_pitfall_10_no_begin_token_stands_before_a_document(saved, bpe):
    loaded = make_tokenizer(TokenizeConfig(kind="hf", name=str(saved)), [])
    assert (
        tokens_in(loaded, ["fox", "dog"]) == tokens_in(bpe, ["fox", "dog"]) == text_ids(bpe, ["fox", "dog"])
    )


def test_documents_are_cut_only_for_tokenizers_known_to_allow_it(saved, bpe, letters):
    def changed(**parts):
        other = AutoTokenizer.from_pretrained(saved)
        for name, value in parts.items():
            setattr(other.backend_tokenizer, name, value)
        return other

    assert cuts(bpe) is cuts(changed()) is BETWEEN_WORDS
    assert cuts(letters) is ANYWHERE
    assert cuts(changed(normalizer=normalizers.NFC())) is NOWHERE
    assert cuts(changed(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True))) is NOWHERE
    assert cuts(changed(pre_tokenizer=pre_tokenizers.ByteLevel(False, use_regex=False))) is NOWHERE
    assert cuts(changed(pre_tokenizer=pre_tokenizers.Split(Regex(r"\S"), "isolated"))) is NOWHERE
    assert cuts(changed(pre_tokenizer=None)) is NOWHERE
    more = changed()
    more.add_tokens(["fox jumps"])
    assert cuts(more) is NOWHERE
    assert cuts(ByT5Tokenizer()) is NOWHERE


@pytest.mark.parametrize("part", [1, 100])
def test_a_tokenizer_that_must_see_a_whole_document_does(saved, part, monkeypatch):
    monkeypatch.setattr(tasks.tokenize.stage, "PART", part)
    other = AutoTokenizer.from_pretrained(saved)
    other.backend_tokenizer.normalizer = normalizers.Replace(Regex("fox jumps"), "naïve")
    assert tokens_in(other, [STORY]) == text_ids(other, [STORY])
    assert "naïve over" in other.decode(text_ids(other, [STORY])[0])


def test_truncation_that_comes_with_a_tokenizer_cuts_no_document(saved):
    other = AutoTokenizer.from_pretrained(saved)
    other.backend_tokenizer.enable_truncation(3)
    other.backend_tokenizer.enable_padding(length=1000)
    assert tokens_in(other, [STORY]) == text_ids(other, [STORY])


def test_a_tokenizer_written_in_python_works_too(corpus, stage_run, tmp_path):
    ByT5Tokenizer().save_pretrained(tmp_path / "bytes")
    assert not AutoTokenizer.from_pretrained(tmp_path / "bytes").is_fast
    run = stage_run()
    config = TokenizeConfig(kind="hf", name=str(tmp_path / "bytes"), validation=0)
    tokenize(config, run, corpus=corpus(a__txt="aé</s>"))
    assert tokens_of(run, "train") == [byte + 3 for byte in "aé</s>".encode()] + [1]


def test_a_tokenizer_without_padding_pads_with_its_end_token(saved):
    other = AutoTokenizer.from_pretrained(saved)
    other.pad_token = None
    other.save_pretrained(saved)
    assert make_tokenizer(TokenizeConfig(kind="hf", name=str(saved)), []).pad_token == END


def test_a_tokenizer_without_an_end_token_is_refused(saved):
    other = AutoTokenizer.from_pretrained(saved)
    other.eos_token = None
    other.save_pretrained(saved)
    with pytest.raises(StageError, match="has no end token, so a model could not learn to stop"):
        make_tokenizer(TokenizeConfig(kind="hf", name=str(saved)), [])


def test_a_tokenizer_that_is_nowhere_is_named(tmp_path):
    with pytest.raises(StageError, match="tokenizer 'nobody/nothing' could not be loaded: "):
        make_tokenizer(TokenizeConfig(kind="hf", name="nobody/nothing"), [])


def test_pitfall_4_code_that_comes_with_a_tokenizer_is_not_run(tmp_path):
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "tokenizer_config.json").write_text(
        '{"auto_map": {"AutoTokenizer": ["evil.Evil", null]}, "tokenizer_class": "Evil"}'
    )
    (trap / "config.json").write_text("{}")
    (trap / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    with pytest.raises(StageError, match="could not be loaded"):
        make_tokenizer(TokenizeConfig(kind="hf", name=str(trap)), [])
    assert not (tmp_path / "ran").exists()


def test_pitfall_44_tokenizer_altered_since_the_key_is_refused(corpus, stage_run, saved):
    config = TokenizeConfig(kind="hf", name=str(saved), validation=0)
    run = stage_run(fingerprints={"tokenizer": sha256_of_tree(saved)})
    (saved / "note.txt").write_text("altered")
    with pytest.raises(StageError, match=r"tokenize\.name: .* was altered since its SHA-256 was taken"):
        tokenize(config, run, corpus=corpus(a__txt=STORY))
    assert list(run.out.iterdir()) == []
    (saved / "note.txt").unlink()
    tokenize(config, run, corpus=saved.parent / "corpus")


# What is saved


@pytest.mark.parametrize("kind", ["bpe", "char", "gpt2"])
def test_a_saved_tokenizer_loads_and_gives_the_same_ids(kind, tmp_path, request):
    if kind == "gpt2":
        tokenizer = request.getfixturevalue("gpt2")
    else:
        tokenizer = make_tokenizer(TokenizeConfig(kind=kind, vocab_size=300), [STORY, *SAMPLES])
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert len(loaded) == len(tokenizer)
    for text in SAMPLES:
        ids = tokenizer(text)["input_ids"]
        assert loaded(text)["input_ids"] == ids
        assert loaded.decode(ids) == text
    for name in ("eos_token_id", "pad_token_id", "bos_token_id", "unk_token_id"):
        assert getattr(loaded, name) == getattr(tokenizer, name)


# The corpus


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({}, "the corpus holds no file"),
        ({"a__txt": " \n"}, r"a\.txt: is empty"),
        ({"a__pdf": "x"}, r"a\.pdf: a corpus is \.txt, \.md, \.json or .*, found \.pdf"),
        ({"a__jsonl": '{"text": "x"}\n{"body": "y"}'}, r"a\.jsonl, row 2: no 'text'; its fields are body"),
        ({"a__jsonl": '{"text": ""}'}, r"a\.jsonl, row 1: 'text' is empty"),
    ],
)
def test_a_corpus_that_cannot_be_read_is_named(corpus, stage_run, files, fault):
    run = stage_run()
    with pytest.raises(StageError, match=fault):
        tokenize(TokenizeConfig(), run, corpus=corpus(**files))
    assert list(run.out.iterdir()) == []


WIKI = """{"text": ""}
{"text": " = The ferry = "}
{"text": "The ferry leaves the harbour before dawn and returns with bread."}
{"text": null}
{"body": "no text"}
{"text": 7}
["no object"]
not JSON
{"text": "The well is deep, so the bucket takes its time."}
{"text": "Nobody remembers who planted the two lime trees."}
{"text": "A clock that stops at noon is right for longer."}
{"text": "She folds the map so that only the river can be seen."}
"""


def test_malformed_and_empty_documents_are_set_aside_and_counted(corpus, stage_run):
    said, tables = [], []
    run = stage_run(say=said.append)
    run.log_table = lambda rows, name: tables.append((len(rows), name))
    files = {"a__txt": "A text of its own.\n", "b__jsonl": WIKI, "c__txt": " \n"}
    folder = corpus(**files)
    (folder / "d.txt").write_bytes(b"in the middle \xff it ends")
    config = TokenizeConfig(vocab_size=300, validation=0, malformed="set-aside")
    tokenize(config, run, corpus=folder)
    auxiliary = [json.loads(line) for line in (run.out / "set_aside.jsonl").read_text().splitlines()]
    assert [(line["where"], line["why"]) for line in auxiliary[:-1]] == [
        ("b.jsonl, row 1", "'text' is empty"),
        ("b.jsonl, row 4", "'text' is empty"),
        ("b.jsonl, row 5", "no 'text'; its fields are body"),
        ("b.jsonl, row 6", "'text' should be text, found a number: 7"),
        ("b.jsonl, row 7", 'expected an object, found a list: ["no object"]'),
        ("b.jsonl, row 8", "not valid JSON (Expecting value): not JSON"),
        ("c.txt", "is empty"),
    ]
    assert auxiliary[-1]["where"] == "d.txt"
    assert auxiliary[-1]["why"].startswith("is not UTF-8: byte 14 is 0xff")
    facts = json.loads((run.out / "tokens.json").read_text())
    assert (facts["documents"], facts["set_aside"], run.metrics["documents_set_aside"]) == (7, 8, 8)
    assert tables == [(8, "set_aside.json")]
    assert said == [
        "8 of 15 documents are set aside, the first, b.jsonl, row 1: 'text' is empty (set_aside.jsonl names "
        "all)"
    ]
    loaded = AutoTokenizer.from_pretrained(run.out / "tokenizer")
    texts = loaded.decode(tokens_of(run, "train")).split(END)
    sound = [line["text"] for line in map(json.loads, WIKI.splitlines()[1:3] + WIKI.splitlines()[8:])]
    assert texts == ["A text of its own.\n", *sound, ""]


def test_first_malformed_document_stops_by_default_with_advice(corpus, stage_run):
    run, folder = stage_run(), corpus()
    (folder / "sub").mkdir()
    (folder / "sub" / "w.jsonl").write_text(WIKI)
    with pytest.raises(StageError, match=r"sub/w\.jsonl, row 1: 'text' is empty\. Fix it, or set") as raised:
        tokenize(TokenizeConfig(), run, corpus=folder)
    assert "malformed=set-aside" in str(raised.value)
    assert list(run.out.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"body": "x"}\n' * 3 + '{"text": "y"}\n' * 2, "3 of the corpus' 5 documents .* no 'text'"),
        ('{"text": ""}\n' * 3, "3 of the corpus' 3 documents .* 'text' is empty"),
    ],
)
def test_a_corpus_of_which_little_is_left_is_refused(corpus, stage_run, text, fault):
    with pytest.raises(StageError, match=fault):
        tokenize(TokenizeConfig(malformed="set-aside"), stage_run(), corpus=corpus(a__jsonl=text))


def test_rows_without_a_text_say_nothing_against_the_format(corpus, stage_run):
    run = stage_run()
    text = '{"text": ""}\n' * 9 + '{"text": "all that there is"}\n'
    tokenize(
        TokenizeConfig(kind="char", validation=0, malformed="set-aside"), run, corpus=corpus(a__jsonl=text)
    )
    assert json.loads((run.out / "tokens.json").read_text())["set_aside"] == 9


def test_one_long_word_is_cut_and_told(corpus, stage_run):
    """A genome of 1.6 MB took the tokenizer's training over 20 minutes: the square of the word's length."""
    letters = np.random.default_rng(0).choice(list("acgt"), 300_000)
    said = []
    run = stage_run(say=said.append)
    started = time.monotonic()
    tokenize(
        TokenizeConfig(vocab_size=400, validation=0),
        run,
        corpus=corpus(a__txt="short words", b__txt="".join(letters)),
    )
    assert time.monotonic() - started < 15, "seconds; 30 for the whole word"
    assert run.metrics["words_cut"] == 300_000 // (tasks.tokenize.stage.PART + LONGEST)
    [line] = said
    assert line.startswith("text without a space or another end of a word for 2,048 characters was cut, ")
    assert ", 16 times, the first in b.txt: " in line
    assert AutoTokenizer.from_pretrained(run.out / "tokenizer").decode(tokens_of(run, "train")) == (
        f"short words{END}{''.join(letters)}{END}"
    )


def test_a_long_word_of_the_rows_is_cut_for_the_training_too(corpus, stage_run, tmp_path, monkeypatch, bpe):
    """The rows' texts are learned from beside the corpus."""
    learned = []
    monkeypatch.setattr(tasks.tokenize.stage, "train_bpe", lambda texts, _: learned.extend(texts) or bpe)
    (tmp_path / "rows").mkdir()
    write_rows(tmp_path / "rows" / "train.jsonl", [{"instruction": "x" * 10_000, "input": "", "output": "y"}])
    tokenize(
        TokenizeConfig(validation=0), stage_run(), corpus=corpus(a__txt="a " * 50), rows=tmp_path / "rows"
    )
    assert max(map(len, learned)) == 2 * LONGEST
    assert "".join(learned) == "a " * 50 + "x" * 10_000 + "\ny"


def test_an_interruption_is_heard_while_the_library_trains():
    """The thread of signals needs the interpreter, which the library does not hold."""
    word = "".join(np.random.default_rng(0).choice(list("acgt"), 30_000))
    training = threading.Thread(target=train_bpe, args=([word], 1000), daemon=True)
    training.start()
    ticks = 0
    while training.is_alive():
        time.sleep(0.01)
        ticks += 1
    assert ticks > 5


def test_near_duplicates_of_a_small_corpus_are_held_out_together(corpus, stage_run):
    """Else what is held out would have been trained on, but for a word, and the preflight would refuse it."""
    letters = np.random.default_rng(1).choice(list("abcdefghijklmnop"), (12, 40, 5))
    texts = [" ".join(map("".join, words)) + " " for words in letters.tolist()]
    both = [text + end for text in texts for end in ("", "Again.")]
    folder = corpus(a__jsonl="\n".join(json.dumps({"text": text}) for text in both))
    for seed in range(5):
        run = stage_run(f"run-{seed}")
        tokenize(TokenizeConfig(kind="char", validation=0.3, seed=seed), run, corpus=folder)
        letters, files = AutoTokenizer.from_pretrained(run.out / "tokenizer"), load_tokens(run.out)
        assert [result.verdict for result in documents_apart(files.train, files.validation)] == ["passed"] * 2
        held = letters.decode(files.validation.tokens).split(END)
        assert {text.removesuffix("Again.") for text in held} == {
            text for text in held if not text.endswith("Again.")
        }


# The stage


def test_the_token_files_hold_what_the_facts_say(corpus, stage_run):
    text = "ä" * 90 + "ö" * 10
    run = stage_run()
    tokenize(TokenizeConfig(kind="char"), run, corpus=corpus(a__txt=text))
    first = {"joined": 2, "apart": 2}
    assert json.loads((run.out / "tokens.json").read_text()) == {
        "dtype": "uint16",
        "vocab_size": 5,
        "end_token": 0,
        "documents": 1,
        "set_aside": 0,
        "train": {"tokens": 91, "bytes": 180, "documents": 1, "unpredicted_bytes": first},
        "validation": {"tokens": 11, "bytes": 20, "documents": 1, "unpredicted_bytes": first},
    }
    assert (run.out / "train.bin").stat().st_size == 91 * 2
    assert tokens_of(run, "train") == [3] * 90 + [0]
    assert tokens_of(run, "validation") == [4] * 10 + [0]
    assert run.metrics == {
        "train_tokens": 91,
        "validation_tokens": 11,
        "vocab_size": 5,
        "documents_set_aside": 0,
        "words_cut": 0,
    }


def test_pitfall_20_bytes_are_counted_on_the_text_not_on_tokens(corpus, stage_run):
    run = stage_run()
    documents = [f"naïve 中文 {number:02} 🙂\u2028" for number in range(20)]
    rows = "\n".join(json.dumps({"text": text}) for text in documents)
    tokenize(TokenizeConfig(vocab_size=300, validation=0.25), run, corpus=corpus(a__jsonl=rows))
    facts = json.loads((run.out / "tokens.json").read_text())
    assert facts["train"]["bytes"] == 15 * len(documents[0].encode())
    assert facts["validation"]["bytes"] == 5 * len(documents[0].encode())
    assert tokens_of(run, "train").count(0) == facts["train"]["documents"] == 15
    assert tokens_of(run, "validation").count(0) == facts["validation"]["documents"] == 5
    loaded = AutoTokenizer.from_pretrained(run.out / "tokenizer")
    whole = loaded.decode(tokens_of(run, "train")).split(END) + loaded.decode(
        tokens_of(run, "validation")
    ).split(END)
    assert sorted(filter(None, whole)) == documents


def byte_fallback():
    """As SentencePiece's: a space is part of a word, and what is unknown is spelled in bytes."""
    words = [END, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words += ["▁", "a", "b", "c", "ab", "▁ab"]
    vocab = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=[("a", "b"), ("▁", "ab")], byte_fallback=True, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


def word_pieces():
    words = [END, "[UNK]", "naïve", "##ly", "so"]
    tokenizer = Tokenizer(models.WordPiece({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


@pytest.mark.parametrize(
    ("make", "text", "size"),
    [
        (lambda: train_bpe(["x"], 258), "€ and", 1),  # a byte of three
        (lambda: train_bpe(["naive " * 9], 265), "naive naive", 5),
        (lambda: characters(["€ab"]), "€ab", 3),
        (lambda: characters(["ab"]), "€ab", 3),  # an unknown character
        (byte_fallback, "€", 0),  # a space that was put before it
        (byte_fallback, "ab c", 2),
        (word_pieces, "NAÏVELY so", 6),
        (word_pieces, "学而时习之 so", 15),  # a word that is unknown as a whole
        (word_pieces, "学" * 5000 + " so", 15000),
        (lambda: train_bpe(["x"], 258), "", 0),
    ],
)
def test_the_bytes_of_a_first_token_are_counted(make, text, size):
    tokenizer = make()
    (ids,) = tokens_in(tokenizer, [text]) if text else [[]]
    assert first_bytes(tokenizer)(ids, text) == size


def test_a_vocabulary_with_gaps_is_counted_to_its_largest_id(corpus, stage_run, tmp_path):
    """Regression: 5 tokens fit into two bytes, and their ids did not."""
    vocab = {END: 0, "<|unk|>": 1, "a": 70_000, "b": 70_001, "c": 131_072}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocab, unk_token="<|unk|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(EVERY_CHARACTER), behavior="isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, unk_token="<|unk|>")
    fast.save_pretrained(tmp_path / "gaps")
    run = stage_run()
    config = TokenizeConfig(kind="hf", name=str(tmp_path / "gaps"), validation=0)
    tokenize(config, run, corpus=corpus(a__txt="abcab"))
    facts = json.loads((run.out / "tokens.json").read_text())
    assert (facts["dtype"], facts["vocab_size"]) == ("uint32", 131_073)
    assert tokens_of(run, "train") == [70_000, 70_001, 131_072, 70_000, 70_001, 0]


def test_a_vocabulary_that_two_bytes_cannot_count_gets_four(corpus, stage_run):
    run = stage_run()
    text = "".join(map(chr, range(0x20000, 0x20000 + 2**16)))
    tokenize(TokenizeConfig(kind="char", validation=0), run, corpus=corpus(a__txt=text))
    assert json.loads((run.out / "tokens.json").read_text())["dtype"] == "uint32"
    assert (run.out / "train.bin").stat().st_size == (2**16 + 1) * 4
    assert tokens_of(run, "train")[-2:] == [2**16 + 2, 0]
    assert (run.out / "validation.bin").stat().st_size == 0


def test_gpt2_stage_counts_the_verdict(shared_data, stage_run, tmp_path, gpt2):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_bytes((shared_data / "the-verdict.txt").read_bytes())
    run = stage_run()
    tokenize(TokenizeConfig(kind="gpt2"), run, corpus=tmp_path / "corpus", vocabulary=shared_data / "gpt2")
    facts = json.loads((run.out / "tokens.json").read_text())
    assert (facts["dtype"], facts["vocab_size"], facts["end_token"]) == ("uint16", 50257, 50256)
    assert facts["train"]["bytes"] + facts["validation"]["bytes"] == 20_479
    train, validation = tokens_of(run, "train"), tokens_of(run, "validation")
    assert train.count(50256) == validation.count(50256) == 1
    assert train[-1] == validation[-1] == 50256
    assert (
        gpt2.decode(train[:-1]) + gpt2.decode(validation[:-1]) == (tmp_path / "corpus" / "a.txt").read_text()
    )


def test_training_rows_teach_the_tokenizer_and_test_rows_do_not(corpus, stage_run, tmp_path):
    (tmp_path / "rows").mkdir()
    row = {"instruction": "ж", "input": "", "output": "щ"}
    write_rows(tmp_path / "rows" / "train.jsonl", [row])
    write_rows(tmp_path / "rows" / "test.jsonl", [row | {"output": "ю"}])
    run = stage_run()
    tokenize(TokenizeConfig(kind="char"), run, corpus=corpus(a__txt="a" * 10), rows=tmp_path / "rows")
    letters = AutoTokenizer.from_pretrained(run.out / "tokenizer")
    assert letters.unk_token_id not in letters("жщ")["input_ids"]
    assert letters("ю")["input_ids"] == [letters.unk_token_id]
    assert set(tokens_of(run, "train")) == {letters("a")["input_ids"][0], letters.eos_token_id}


ROWS = [f"row {n}: don't  stop\n\n \tназад 中文。{'x' * n}" for n in range(30)]


@pytest.mark.parametrize("kind", ["bpe", "char", "hf"])
@pytest.mark.parametrize("documents", ["one text", "rows", "both"])
def test_no_size_of_block_part_or_batch_changes_the_result(
    kind, documents, corpus, stage_run, monkeypatch, request
):
    files = {
        "a__jsonl": "\n".join(json.dumps({"text": row}) for row in ROWS),
        "b__txt": STORY + " ".join(ROWS),
    }
    names = {"one text": ["b__txt"], "rows": ["a__jsonl"], "both": ["a__jsonl", "b__txt"]}[documents]
    folder = corpus(**{name: files[name] for name in names})
    more = {"name": str(request.getfixturevalue("saved"))} if kind == "hf" else {}
    config = TokenizeConfig(kind=kind, vocab_size=300, validation=0.2, training_bytes=1500, **more)
    digests = set()
    for number, (block, part, batch) in enumerate([(2**20, 2**14, 2**19), (7, 1, 1), (64, 50, 600)]):
        monkeypatch.setattr(tasks.data.reading, "BLOCK", block)
        monkeypatch.setattr(tasks.tokenize.stage, "PART", part)
        monkeypatch.setattr(tasks.tokenize.stage, "BATCH", batch)
        run = stage_run(f"run-{number}")
        tokenize(config, run, corpus=folder)
        digests.add(sha256_of_tree(run.out))
    assert len(digests) == 1


def test_the_text_of_the_end_token_is_text(corpus, stage_run):
    run = stage_run()
    text = f"one{END}two"
    tokenize(TokenizeConfig(vocab_size=258, validation=0), run, corpus=corpus(a__txt=text))
    assert len(tokens_of(run, "train")) == len(text) + 1
    assert tokens_of(run, "train").index(0) == len(text)


def test_ends_of_documents_are_where_the_reader_looks_for_them(corpus, stage_run):
    run = stage_run()
    folder = corpus(a__jsonl="\n".join(json.dumps({"text": "ab" * n}) for n in range(1, 11)))
    tokenize(TokenizeConfig(kind="char", validation=0.3), run, corpus=folder)
    found = load_tokens(run.out)
    lengths = sorted(
        len_ - 1
        for split in (found.train, found.validation)
        for len_ in np.diff(split.ends, prepend=0).tolist()
    )
    assert lengths == [2 * n for n in range(1, 11)]
    for split in (found.train, found.validation):
        assert split.tokens[split.ends.astype(int) - 1].tolist() == [0] * len(split.ends)
        assert split.ends[-1] == len(split)


def test_progress_is_told_in_bytes_up_to_the_last(corpus, stage_run):
    told = []
    run = stage_run(progress=lambda *news: told.append(news))
    tokenize(TokenizeConfig(vocab_size=300), run, corpus=corpus(a__txt="ä" * 100))
    assert told[0] == (0, 200, "bytes", "training the tokenizer")
    assert told[-1][:3] == (200, 200, "bytes")
    assert told[-1][3].endswith(" MB/s")


def test_a_sample_that_holds_nothing_is_refused(corpus, stage_run):
    config = TokenizeConfig(vocab_size=300, training_bytes=4)
    with pytest.raises(
        StageError, match=r"tokenize\.training_bytes=4 holds no block of the corpus; allow more"
    ):
        tokenize(config, stage_run(), corpus=corpus(a__txt="x" * 100))


def test_the_same_corpus_and_settings_give_the_same_bytes(corpus, stage_run):
    folder = corpus(a__txt=STORY, b__jsonl='{"text": "naïve 中文"}')
    runs = [stage_run(name) for name in ("one", "other")]
    for run in runs:
        tokenize(TokenizeConfig(vocab_size=300), run, corpus=folder)
    assert sha256_of_tree(runs[0].out) == sha256_of_tree(runs[1].out)


def test_pitfall_5_other_content_at_the_same_path_is_another_key(corpus):
    folder = corpus(a__txt="one")
    config = DownloadConfig(sources=[{"path": folder}])

    def key():
        return stage_key(Stage("download", 1, "x:y"), config, fingerprints(config))

    before = key()
    assert key() == before
    (folder / "a.txt").write_text("two")
    assert key() != before
    (folder / "a.txt").write_text("one")
    assert key() == before
    (folder / "a.txt").rename(folder / "b.txt")
    assert key() != before


def test_training_rows_are_the_corpus_where_there_is_none(stage_run, tmp_path):
    """A near duplicate that was held out would have been trained on; what is tested stays away."""
    folder = tmp_path / "rows"
    folder.mkdir()
    words = "apple book river stone cloud garden window bottle".split()
    texts = [f"{one} {other}" for one in words for other in words]
    number = count()
    for split, members in {
        "train": [*texts[:40], f"{texts[0].upper()}!", texts[3]],
        "left_out": texts[40:60],
        "validation": ["held out: validation"],
        "test": ["held out: test"],
    }.items():
        write_rows(
            folder / f"{split}.jsonl",
            [{"id": next(number), "text": text, "label": "x"} for text in members],
        )
    run = stage_run()
    tokenize(TokenizeConfig(kind="char"), run, rows=folder)
    tokenizer = AutoTokenizer.from_pretrained(run.out / "tokenizer")
    files = load_tokens(run.out)
    found = [
        text
        for split in (files.train, files.validation)
        for text in tokenizer.decode(split.tokens).split("<|endoftext|>")
        if text
    ]
    assert sorted(found) == sorted(texts[:60])


def test_what_is_done_between_the_counts_is_told(corpus, stage_run, tmp_path):
    told = []
    run = stage_run(progress=lambda *news: told.append(news[3].split(",")[0]), phase=told.append)
    tokenize(TokenizeConfig(vocab_size=300), run, corpus=corpus(a__txt="abc " * 100))
    assert told == ["training the tokenizer", "training the tokenizer: learning its tokens", "encoding"]
