"""A setting that is text is the text that was written, whatever YAML makes of it."""

import types
import typing
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from flows.command.options import judge_settings
from flows.profiles.load import load_profile, load_settings
from flows.profiles.profile import Profile
from flows.profiles.yaml_settings import load_yaml, read_override, read_yaml
from tasks.config import CompareConfig, JudgeConfig
from tasks.errors import UsageError

# What YAML 1.1 reads as a number, a boolean, a date, a list or a mapping
SCALARS = (
    *(
        "1234567",
        "12e4567",
        "1.5e10",
        "010",
        "0x1f",
        "0b1",
        "1_000",
        "1:30",
        ".5",
        ".inf",
        ".NaN",
        "-1",
        "+7",
    ),
    *("yes", "no", "on", "off", "true", "False", "y", "=", "<<"),
    *("2024-01-01", "2024-01-01 10:00:00", "2024-13-45", "9" * 5000),
)
NULLS = ("null", "~", "NULL", "Null")
BRACKETS = ("[a, b]", "[INST]", "{a: b}", "{profile}", "[]")
ONLY_SET = (
    "Q: what",
    "a: b: c",
    "a, b",
    "[INST] x",
    "'Tis",
    "a # b",
    "#5",
    " x ",
    "- a",
    "@a",
    "%a",
    "`a`",
    "a\\n",
)


def alternatives(kind):
    if typing.get_origin(kind) is typing.Annotated:
        return alternatives(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [each for inner in typing.get_args(kind) for each in alternatives(inner)]
    return [kind]


def is_text(kind):
    origin = typing.get_origin(kind)
    return kind in (str, Path) or (origin is typing.Literal and isinstance(typing.get_args(kind)[0], str))


def text_fields(kind, *at):
    """Every place under a kind where a text stands: its path, whether none may stand there, and a list."""
    parts = alternatives(kind)
    if any(map(is_text, parts)):
        yield at, type(None) in parts, any(typing.get_origin(part) is tuple for part in parts)
    for part in parts:
        if isinstance(part, type) and issubclass(part, BaseModel):
            for name, field in part.model_fields.items():
                yield from text_fields(field.annotation, *at, name)
        elif typing.get_origin(part) is tuple:
            yield from text_fields(typing.get_args(part)[0], *at, 0)
        elif typing.get_origin(part) is dict:
            yield from text_fields(typing.get_args(part)[1], *at, "on")


FIELDS = list(text_fields(Profile))
each_field = pytest.mark.parametrize(
    ("at", "nullable", "listed"), FIELDS, ids=[".".join(map(str, at)) for at, *_ in FIELDS]
)


def written(at, text):
    """A document with a text at a place, as a person writes it."""
    for step in reversed(at):
        text = f"[{text}]" if step == 0 else f"{{{step}: {text}}}"
    return text


def found(raw, at):
    for step in at:
        raw = raw[step]
    return raw


def test_the_walk_finds_texts_of_every_shape():
    names = {".".join(map(str, at)) for at, *_ in FIELDS}
    assert {
        "tokenize.revision",  # or none
        "pretrain.sample_prompt",
        "pretrain.compile",  # one of several
        "corpus.sources.0.path",
        "corpus.sources.0.urls.0",
        "rows.columns.on",
        "judge.scorer",  # or a list of texts
        "judge.scorer.0",
        "finetune.lora.targets.0",
    } <= names
    assert len(FIELDS) > 60


@each_field
def test_a_text_in_a_file_is_what_was_written(at, nullable, listed):
    for text in (*SCALARS, *(() if nullable else NULLS), *(() if listed else BRACKETS)):
        assert found(load_yaml(written(at, text), Profile), at) == text
    for text in (*SCALARS, *NULLS, ""):
        assert found(load_yaml(written(at, f"'{text}'"), Profile), at) == text
    if nullable:
        assert [found(load_yaml(written(at, text), Profile), at) for text in NULLS] == [None] * len(NULLS)


@each_field
def test_a_text_after_set_is_what_was_written(at, nullable, listed):
    if 0 in at[-1:]:
        return
    name = ".".join(map(str, at))
    for text in (*SCALARS, *ONLY_SET, *(() if nullable else (*NULLS, "")), *(() if listed else BRACKETS)):
        assert read_override(f"{name}={text}", Profile) == ([*map(str, at)], text)
    for text in (*SCALARS, *NULLS, ""):
        assert read_override(f"{name}='{text}'", Profile)[1] == text
    assert read_override(f'{name}="a\\nb"', Profile)[1] == "a\nb"
    if nullable:
        assert [read_override(f"{name}={text}", Profile)[1] for text in (*NULLS, "")] == [None] * 5


def test_what_is_no_text_is_what_yaml_reads():
    raw = load_yaml("{pretrain: {steps: 1_000, learning_rate: 1.5e-3}, rows: {shuffle: no}}", Profile)
    assert raw == {"pretrain": {"steps": 1000, "learning_rate": 1.5e-3}, "rows": {"shuffle": False}}
    assert load_yaml("[1_000, no, 010]") == [1000, False, 8]


@pytest.fixture
def write(tmp_path):
    def make(text):
        path = tmp_path / "mine.yaml"
        path.write_text(f"corpus: 2024\ninstructions: b.json\n{text}\n", encoding="utf-8")
        return str(path)

    return make


def test_a_profile_of_texts_that_yaml_misreads(write, tmp_path):
    profile = load_profile(
        write(
            "name: 010\ndescription: [INST]\n"
            "rows: {columns: {instruction: on, output: null}, header: [yes, a: b]}\n"
            "pretrain: {sample_prompt: no}\nfinetune: {tune: lora, lora: {targets: [0x1f]}}"
        ),
        ["corpus.sources.0.revision=12e4567", "promote.name=1_000", "rows.columns.my.input=Q: a"],
    )
    assert (profile.name, profile.description[:11]) == ("010", "the profile")
    assert profile.corpus.sources[0].path == tmp_path / "2024"
    assert profile.corpus.sources[0].revision == "12e4567"
    assert profile.rows.columns == {"instruction": "on", "output": "null", "my.input": "Q: a"}
    assert profile.rows.header == ("yes", "a: b")
    assert (profile.pretrain.sample_prompt, profile.promote.name) == ("no", "1_000")
    assert profile.finetune.lora.targets == ("0x1f",)


def test_a_number_means_what_people_read(write):
    """YAML 1.1 reads 010 as 8, and 1:30 as 90."""
    profile = load_profile(write("pretrain: {steps: 0100}"), ["pretrain.warmup=010"])
    assert (profile.pretrain.steps, profile.pretrain.warmup) == (100, 10)
    for override in ("pretrain.steps=1:30", "pretrain.learning_rate=2024-01-01"):
        value = override.partition("=")[2]
        with pytest.raises(UsageError, match=f", found '{value}'"):
            load_profile(write(""), [override])


def test_settings_of_one_stage_are_texts_too():
    config = load_settings(JudgeConfig, "judge", {}, ["judge.base_url=http://h/v1", "judge.key_variable=yes"])
    assert config.key_variable == "yes"
    with pytest.raises(UsageError, match=r"compare\.scorer: '010' is no scorer"):
        load_settings(CompareConfig, "compare", {}, ["compare.scorer=010"])


@pytest.mark.parametrize(
    "scorers",
    [["hf:a,b"], ["hf:[a]"], ["hf:./[a]", "ollama:b:1b"], ["hf:a,b", "hf:{c}"], ["hf:🪨,é", "hf:#c"]],
)
def test_judges_of_the_command_line_are_named_as_they_stand(scorers):
    config = load_settings(JudgeConfig, "judge", {}, judge_settings(scorers))
    assert config.scorers == tuple(scorers)


def test_comma_in_a_list_of_judges_splits_it_unless_it_is_quoted():
    assert load_profile("quickstart", ['judge.scorer=["hf:a,b", hf:c]']).judge.scorer == ("hf:a,b", "hf:c")
    with pytest.raises(UsageError, match=r"judge\.scorer: 'b' is no scorer; .* in its name goes in quotes"):
        load_profile("quickstart", ["judge.scorer=[hf:a,b]"])


def test_a_mapping_of_several_lines_is_no_text(write):
    with pytest.raises(UsageError, match=r"pretrain\.sample_prompt: Input should be a valid string, found {"):
        load_profile(write("pretrain:\n  sample_prompt:\n    a: b\n    c: d"))


def test_a_text_that_needs_quotes_is_told_that(write):
    with pytest.raises(UsageError, match=r" a text with ': ' .* goes in quotes"):
        load_profile(write("pretrain: {sample_prompt: [INST] hi}"))


@pytest.mark.parametrize("text", ["a: 1\na: 2", "on: 1\n'on': 2", "x: {a: 1, a: 2}"])
def test_a_key_that_stands_twice_is_an_error(text):
    with pytest.raises(yaml.YAMLError, match="is a duplicate"):
        load_yaml(text, Profile)


def test_merged_mappings_are_no_duplicates(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "pretrain: &one {seed: 5, sample_prompt: no}\nfinetune: {<<: *one, seed: 6}\ndpo: *one\n"
        "generate: &two {<<: *one, seed: 7}\nrows: *two\n"
    )
    raw = read_yaml(tmp_path / "a.yaml", Profile)
    assert raw["finetune"] == {"seed": 6, "sample_prompt": False}  # it has no such field
    assert raw["pretrain"] == {"seed": 5, "sample_prompt": "no"}
    assert raw["rows"]["seed"] == raw["generate"]["seed"] == 7


@pytest.mark.parametrize("text", ["!!python/object:os.system x", "!mine [a]", "!mine {a: b}"])
def test_a_tag_that_is_unknown_is_refused(text):
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        load_yaml(f"description: {text}", Profile)
