"""Configuration: what decides a key, and profiles whose every mistake is named with its remedy."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

import tasks.config
from flows.profiles.load import load_profile, profile_names
from flows.profiles.profile import Profile
from flows.profiles.spelling import DOWNLOADS
from flows.profiles.yaml_settings import read_yaml
from flows.server.pools import Pools
from tasks.config import (
    OUTSIDE_KEY,
    AuditConfig,
    BaseConfig,
    CompareConfig,
    DownloadConfig,
    GenerateConfig,
    JudgeConfig,
    PretrainConfig,
    RowsConfig,
    Source,
    StageConfig,
    TokenizeConfig,
)
from tasks.errors import UsageError
from tasks.machine.digests import sha256_of

CONFIGS = sorted(
    (found for found in vars(tasks.config).values() if isinstance(found, type) and found is not StageConfig),
    key=lambda found: found.__name__,
)
CONFIGS = [found for found in CONFIGS if issubclass(found, StageConfig)]


# What decides a key


def test_the_fields_outside_the_key_are_these_and_no_others():
    outside = {
        f"{config.__name__}.{name}"
        for config in CONFIGS
        for name, field in config.model_fields.items()
        if OUTSIDE_KEY in field.metadata
    }
    assert outside == {
        "DownloadConfig.attempts",
        "DownloadConfig.mirror",
        "DownloadConfig.timeout",
        "BaseConfig.mirror",
        *(
            f"{config}.{name}"
            for config in (
                *("TuningConfig", "ScoredTuningConfig", "FinetuneConfig", "DpoConfig"),
                *("RewardModelConfig", "GrpoConfig", "ClassifyConfig"),
            )
            for name in ("checkpoint_every", "device", "gradient_checkpointing", "processes")
        ),
        "GrpoConfig.batch_tokens",
        *(
            f"BenchmarkConfig.{name}"
            for name in ("questions", "revisions", "mirror", "batch_tokens", "device")
        ),
        *(f"ExportConfig.{name}" for name in ("device", "host", "output", "private", "push")),
        *(
            f"GenerateConfig.{name}"
            for name in (
                *("batch_tokens", "device", "base_url", "key_variable", "concurrency", "timeout", "attempts"),
            )
        ),
        "PredictConfig.device",
        *(
            f"{config}.{name}"
            for config in ("AskConfig", "AuditConfig", "JudgeConfig", "CompareConfig")
            for name in (
                *("host", "base_url", "key_variable", "pull", "concurrency", "timeout", "attempts", "device"),
                *("anew", "max_age_days"),
            )
        ),
        *(
            f"{config}.{name}"
            for config in ("SynthesizeConfig", "WriterConfig")
            for name in (
                *("host", "base_url", "key_variable", "pull", "concurrency", "timeout", "attempts", "device"),
                "max_age_days",
            )
        ),
        "WriterConfig.anew",
        "SynthesizeConfig.given",
        "SynthesizeConfig.prompt",
        "JudgeConfig.audit_rows",
        "JudgeConfig.choice_gates",
        "JudgeConfig.gates",
        "JudgeConfig.resamples",
        "JudgeConfig.traces",
        "LossesConfig.device",
        "PretrainConfig.checkpoint_every",
        "PretrainConfig.compile",
        "PretrainConfig.device",
        "PretrainConfig.kernels",
        "PretrainConfig.processes",
        "PretrainConfig.sharding",
        "Source.path",
        "Source.urls",
        "Source.weight",
    }


def test_fields_outside_the_key_of_an_inner_source_are_left_out():
    config = DownloadConfig(
        sources=[{"name": "a", "urls": ["https://x/a"], "sha256": "0" * 64}],
        mirror="/m",
        timeout=1,
        attempts=9,
    )
    assert config.key_fields() == {
        "sources": [
            {
                "name": "a",
                "dataset": None,
                "subset": None,
                "split": "train",
                "revision": None,
                "made": None,
                "rows": None,
                "seed": 123,
                "count": 1000,
                "sha256": "0" * 64,
                "size": None,
                "unzip": False,
            }
        ]
    }


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        GenerateConfig().max_new_tokens = 5


# Sources


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data/corpus.txt", {"path": Path("data/corpus.txt"), "name": "corpus.txt", "unzip": False}),
        ("data/corpus.zip", {"path": Path("data/corpus.zip"), "name": "corpus.zip", "unzip": True}),
        ("data/folder/", {"path": Path("data/folder"), "name": "folder"}),
        (
            "https://x.org/a/b.zip?v=1",
            {"urls": ("https://x.org/a/b.zip?v=1",), "name": "b.zip", "unzip": True},
        ),
        ("hf:owner/name", {"dataset": "owner/name", "name": "name.jsonl"}),
    ],
)
def test_a_single_text_stands_for_one_source(text, expected):
    (source,) = DownloadConfig.model_validate(text).sources
    assert {name: getattr(source, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ({"name": "a"}, "none"),
        ({"path": "a", "made": "skills"}, "path, made"),
        ({"urls": ["https://x/a"], "dataset": "a/b"}, "urls, dataset"),
    ],
)
def test_a_source_has_exactly_one_origin(source, found):
    with pytest.raises(ValidationError, match=f"exactly one of urls, path, dataset, made; found {found}"):
        Source(**source)


@pytest.mark.parametrize("origin", [{"path": "a"}, {"made": "skills"}, {"urls": ["https://x/a"]}])
def test_rows_are_of_a_dataset(origin):
    with pytest.raises(ValidationError, match=f"rows goes with dataset, not with {next(iter(origin))}"):
        Source(**origin, rows=5)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "a\\b", "."])
def test_pitfall_4_a_source_stays_inside_its_folder(name):
    with pytest.raises(ValidationError, match="must stay inside its folder"):
        Source(name=name, path="a")


def test_two_sources_of_one_name_are_refused():
    with pytest.raises(ValidationError, match=r"two sources share the name 'a\.txt'"):
        DownloadConfig(sources=[{"path": "x/a.txt"}, {"path": "y/a.txt"}])


# Single settings


@pytest.mark.parametrize(
    ("size", "shape"),
    [("124M", (12, 12, 768)), ("1558M", (48, 25, 1600)), ("2x4x64", (2, 4, 64))],
)
def test_a_size_is_a_shape(size, shape):
    assert PretrainConfig(size=size).shape() == shape


@pytest.mark.parametrize(
    ("size", "fault"),
    [
        ("125M", "size '125M' is neither one of quickstart, cpu, 124M, 355M, 774M, 1558M nor"),
        ("2x4", "neither one of"),
        ("0x4x64", "neither one of"),
        ("-2x4x64", "neither one of"),
        ("²x4x64", "neither one of"),
        ("2x3x64", "the width must be a multiple of the heads"),
    ],
)
def test_a_size_that_is_none_is_refused(size, fault):
    with pytest.raises(ValidationError, match=fault):
        PretrainConfig(size=size)


@pytest.mark.parametrize("scorer", ["metric:bleurt", "ollama:", "ollama:a b", "gpt-4", "hf:", "panel"])
def test_a_scorer_that_is_not_known_is_refused(scorer):
    with pytest.raises(ValidationError, match="scorer"):
        JudgeConfig(scorer=scorer)


@pytest.mark.parametrize(
    "scorers",
    [
        ["ollama:a"],
        [],
        ["ollama:a", "ollama:a"],
        ["ollama:a", "metric:chrf"],
    ],
)
def test_several_scorers_are_different_judges(scorers):
    with pytest.raises(ValidationError, match="two different judges or more"):
        JudgeConfig(scorer=scorers)


def test_several_judges_are_a_panel():
    config = JudgeConfig(scorer=["ollama:a", "hf:b"])
    assert config.headline == "panel"
    assert config.judges == ("ollama:a", "hf:b")
    assert config.audit_of("hf:b").judges == ("hf:b",)


def test_an_audit_has_the_settings_of_its_judge():
    config = JudgeConfig(
        scorer="ollama:a", context=512, seed=7, host="there", gates={"auc": {"passes": 0.9, "fails": 0.5}}
    )
    audit = config.audit_of("ollama:a")
    assert (audit.context, audit.seed, audit.host, audit.sample) == (512, 7, "there", 30)
    assert audit.gates.auc.passes == 0.9


def test_an_audit_is_of_a_judge():
    with pytest.raises(ValidationError, match="an audit is of one judge"):
        AuditConfig(scorer="metric:chrf")


def test_only_a_judge_can_be_shown_two_responses():
    with pytest.raises(ValidationError, match="pairwise needs one judge"):
        CompareConfig(scorer="metric:chrf", mode="pairwise")


@pytest.mark.parametrize("settings", [{"kind": "hf"}, {"kind": "bpe", "name": "gpt2"}])
def test_a_tokenizers_name_goes_with_its_kind(settings):
    with pytest.raises(ValidationError, match=r"tokenize\.name goes with tokenize\.kind=hf"):
        TokenizeConfig(**settings)


# Profiles


def test_there_are_profiles():
    assert {"book", "gpt2-124m", "quickstart", "shakespeare", "wiki-zh"} <= set(profile_names())


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_loads_and_is_named_after_its_file(name):
    profile = load_profile(name)
    assert profile.name == name
    assert profile.description
    if profile.instructions:
        assert profile.promote.name == f"touchstone-{name}"


def test_shakespeare_is_nanogpts_cpu_setting_on_the_shared_text(shared_data):
    profile = load_profile("shakespeare", mirror=str(shared_data))
    (source,) = profile.corpus.sources
    file = shared_data / source.name
    assert (source.sha256, source.size) == (sha256_of(file), file.stat().st_size)
    assert (profile.tokenize.kind, profile.tokenize.validation) == ("char", 0.1)
    train = profile.pretrain
    assert (train.shape(), train.context, train.batch_size, train.steps) == ((4, 4, 128), 64, 12, 2000)
    assert (train.dropout, train.accumulation, train.optimizer) == (0, 1, "muon")


def test_wiki_zh_continues_the_model_whose_tokens_it_makes():
    profile = load_profile("wiki-zh")
    (source,) = profile.corpus.sources
    assert (source.dataset, source.rows) == ("pleisto/wikipedia-cn-20230720-filtered", 10_000)
    assert source.name == "wikipedia-cn-20230720-filtered.jsonl"
    assert (profile.tokenize.kind, profile.tokenize.name) == ("hf", "Langboat/bloom-389m-zh")
    train = profile.pretrain
    assert (train.model, train.weights) == (profile.tokenize.name, "pretrained")
    assert train.revision == profile.tokenize.revision
    assert (train.context, train.batch_size, train.accumulation) == (384, 16, 4)
    assert (train.precision, train.schedule, train.learning_rate) == ("bfloat16", "cosine", 5e-5)


def test_gpt2_124m_sees_20_tokens_a_parameter_none_of_them_twice():
    profile = load_profile("gpt2-124m")
    assert profile.vocabulary == load_profile("book").vocabulary
    train = profile.pretrain
    assert (train.shape(), train.context, train.device) == ((12, 12, 768), 1024, "cuda")
    a_step = train.batch_size * train.accumulation * train.context
    assert a_step == 2**19
    assert 20 * 124e6 < a_step * train.steps < 1000 * profile.corpus.sources[0].rows


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a profile in a folder that is not the current one, and return its path as text."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = tmp_path / "profiles"
    folder.mkdir()

    def make(text="", name="mine.yaml", *, corpus="corpus: a.txt", instructions="instructions: b.json"):
        path = folder / name
        path.write_text(f"{corpus}\n{instructions}\n{text}\n", encoding="utf-8")
        return str(path)

    return make


def message_of(name, *overrides, **options):
    with pytest.raises(UsageError) as raised:
        load_profile(name, overrides, **options)
    assert raised.value.exit_status == 2
    return str(raised.value)


def test_a_profile_of_ones_own_needs_two_lines(write):
    profile = load_profile(write())
    assert profile.name == "mine"
    assert profile.promote.name == "touchstone-mine"
    assert profile.pretrain == PretrainConfig()


def test_a_profile_cannot_be_changed(write):
    with pytest.raises(ValidationError, match="frozen"):
        load_profile(write()).name = "other"


# Finding and reading them


def test_a_name_that_is_nearly_right_is_corrected():
    assert message_of("quikstart").endswith("did you mean quickstart?")


def test_a_name_that_is_far_off_gets_the_list():
    message = message_of("zzz")
    assert message.startswith("there is no profile 'zzz'; there are book, ")
    assert message.endswith("a path to a YAML file works too.")


def test_a_home_without_profiles_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=f"'quickstart': {tmp_path}/.* holds none. Let TOUCHSTONE_HOME name"):
        load_profile("quickstart")


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert message_of(str(tmp_path / "no.yaml")).startswith(f"profile {tmp_path}/no.yaml does not exist")


# Nine lines, and a thousand million words for whoever writes them out
GROWING = b"a0: &a0 [lol]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (line, line, b",".join([b"*a%d" % (line - 1)] * 10)) for line in range(1, 10)
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"corpus: [a", "mine.yaml is not valid YAML: while parsing a flow sequence"),
        (b"corpus: a: b", "mine.yaml is not valid YAML: mapping values are not allowed here"),
        (b"corpus: \xff", "mine.yaml is not valid YAML: 'utf-8' codec can't decode byte 0xff"),
        (
            b"corpus: !!python/name:os.system",
            "mine.yaml is not valid YAML: could not determine a constructor",
        ),
        (b"a: &a [1]\nb: &b {c: *b}", "mine.yaml is not valid YAML: written out, its aliases"),
        (GROWING, "mine.yaml is not valid YAML: written out, its aliases would be more than 100000"),
        (b"other: 2024-13-45", "mine.yaml is not valid YAML: month must be in 1..12"),
        (b"other: " + b"9" * 5000, "mine.yaml is not valid YAML: Exceeds the limit"),
        (b"corpus: " + b"[" * 2000, "mine.yaml is not valid YAML: "),
        (b"corpus: " + b"x" * 2**20, "mine.yaml has 1048584 bytes, and a file of settings at most 1048576"),
        (b"", "mine.yaml: expected a mapping of names to settings, found None"),
        (b"- corpus", "mine.yaml: expected a mapping of names to settings, found ['corpus']"),
    ],
)
def test_a_file_that_is_no_profile_is_named_in_one_line(tmp_path, content, expected):
    (tmp_path / "mine.yaml").write_bytes(content)
    message = message_of(str(tmp_path / "mine.yaml"))
    assert message.startswith(expected)
    assert "\n" not in message


def test_aliases_may_save_writing(tmp_path):
    (tmp_path / "mine.yaml").write_text("a: &small {steps: 5}\nb: *small\nc: [*small, *small]")
    small = {"steps": 5}
    assert read_yaml(tmp_path / "mine.yaml") == {"a": small, "b": small, "c": [small, small]}


@pytest.mark.parametrize("value", [GROWING.decode(), "[" * 2000, "&a [*a]"])
def test_a_setting_that_would_grow_is_refused(value):
    with pytest.raises(UsageError, match="is not a valid value"):
        load_profile("quickstart", [f"pretrain={value}"])


# Wrong keys and values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pretrian: {}", "there is no setting pretrian; did you mean pretrain?"),
        ("pretrain: {step: 5}", "there is no setting pretrain.step; did you mean pretrain.steps?"),
        (
            "judge: {zzz: 5}",
            "there is no setting judge.zzz; there are anew, attempts, audit_rows, base_url, ",
        ),
        (
            "zzz: 5",
            "there is no setting zzz; there are base, benchmark, classify, corpus, description, dpo, ",
        ),
        ("pretrain: {steps: many}", "pretrain.steps: Input should be a valid integer, unable to parse"),
        ("pretrain: {steps: many}", ", found 'many'"),
        ("pretrain: {steps: 0}", "pretrain.steps: Input should be greater than 0, found 0"),
        ("pretrain: {steps: 1.5}", "a valid integer, got a number with a fractional part, found 1.5"),
        ("pretrain: {steps: yes}", "pretrain.steps: Input should not be a boolean, found True"),
        ("rows: {train: off}", "rows.train: Input should not be a boolean, found False"),
        ("rows: {shuffle: perhaps}", "rows.shuffle: Input should be a valid boolean"),
        (
            "pretrain: 5",
            "pretrain: Input should be a valid dictionary or instance of PretrainConfig, found 5",
        ),
        (
            "finetune: 5",
            "finetune: Input should be a valid dictionary or instance of FinetuneConfig, found 5",
        ),
        (
            "generate: 5",
            "generate: Input should be a valid dictionary or instance of GenerateConfig, found 5",
        ),
        ("promote: 5", "promote: Input should be a valid dictionary or instance of PromoteConfig, found 5"),
        (
            "finetune: {template: chatlm}",
            "finetune.template: Input should be 'alpaca', 'phi3', 'chatml', 'plain' or 'tokenizer', found",
        ),
        ("pretrain: {size: 125M}", "pretrain: size '125M' is neither one of"),
        ("promote: {name: a/b}", "promote.name: String should match pattern"),
        ("name: My Profile", "name: String should match pattern"),
        ("1: 2", "there is no setting 1; there are base, benchmark, classify, corpus"),
        ("judge: {scorer: }", "judge.scorer: '' is no scorer; expected ollama:MODEL"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_found(write, text, expected):
    message = message_of(write(text))
    assert expected in message
    assert "\n" not in message


def test_a_wrong_key_inside_a_source_is_corrected_and_told_once(write):
    path = write(corpus="corpus:\n  sources:\n    - path: a.txt\n    - ulrs: [https://x/y]")
    assert message_of(path) == (
        f"profile {path}: there is no setting corpus.sources.1.ulrs; did you mean corpus.sources.1.urls?"
    )


def test_every_fault_is_told(write):
    message = message_of(write("pretrain: {step: 5, context: no}\njudge: {seeds: 1}"))
    assert message.count("; ") == 4
    for name in ("pretrain.steps?", "pretrain.context: ", "judge.seed?"):
        assert name in message


@pytest.mark.parametrize(
    ("corpus", "expected"),
    [
        ("corpus: {}", "corpus.sources: Field required"),
        ("corpus: {sources: }", "corpus.sources: Input should be a valid tuple, found None"),
        ("corpus: {sources: 5}", "corpus.sources: Input should be a valid tuple, found 5"),
        ("corpus: {sources: []}", "corpus.sources: Tuple should have at least 1 item"),
        ("corpus: {sources: [{path: }]}", "corpus.sources.0: a source needs exactly one of urls, path"),
        (
            "corpus: [a]",
            "corpus: Input should be a valid dictionary or instance of DownloadConfig, found ['a']",
        ),
    ],
)
@pytest.mark.parametrize("mirror", [None, "/mirror"])
def test_a_corpus_that_is_none_is_named_and_never_a_crash(write, corpus, expected, mirror):
    assert expected in message_of(write(corpus=corpus), mirror=mirror)


def test_address_without_a_file_is_an_error_with_a_mirror_too(write):
    path = write(corpus="corpus: 'hf:'")
    assert message_of(path) == message_of(path, mirror="/mirror")


# Without instructions

ONLY = {"instructions": ""}


def test_profile_that_only_pretrains_needs_one_line(write):
    profile = load_profile(write(**ONLY))
    assert profile.instructions is None
    assert set(profile.model_dump(mode="json")) == {
        *("name", "description", "reuse", "seeds", "corpus", "tokenize", "pretrain", "report")
    }
    assert {"judge", "promote"} <= set(load_profile(write()).model_dump())


@pytest.mark.parametrize("only", [True, False])
def test_profile_written_out_is_the_same_when_read_again(write, only):
    profile = load_profile(write(**ONLY if only else {}))
    assert Profile.model_validate(profile.model_dump(mode="json")) == profile


@pytest.mark.parametrize(
    ("text", "overrides", "named"),
    [
        ("finetune: {template: phi3, epochs: 3}", (), "finetune.epochs, finetune.template"),
        ("", ("judge.scorer=ollama:llama3.2",), "judge.scorer"),
        ("promote: {name: mine}", (), "promote.name"),
        ("tokenize: {include_rows: true}", (), "tokenize.include_rows"),
        ("rows: {train: 0.8}\ngenerate: {max_new_tokens: 3}", (), "generate.max_new_tokens, rows.train"),
    ],
)
def test_settings_of_stages_that_do_not_run_are_refused(write, text, overrides, named):
    path = write(text, **ONLY)
    assert message_of(path, *overrides).startswith(
        f"profile {path}: {named}: set, but there are no instructions, "
    )


def test_a_misspelt_instructions_is_told_as_that(write):
    message = message_of(write("finetune: {epochs: 3}", instructions="instrutions: b.json"))
    assert message.endswith("there is no setting instrutions; did you mean instructions?")


# What fits together


def test_responses_are_asked_for_with_the_template_trained_on(write):
    profile = load_profile(write("finetune: {template: phi3}\ngenerate: {max_new_tokens: 3}"))
    assert profile.generate == GenerateConfig(template="phi3", max_new_tokens=3)
    assert load_profile(write(), ["finetune.template=phi3"]).generate.template == "phi3"


@pytest.mark.parametrize(
    "text", ["generate: {template: phi3}", "finetune: {template: phi3}\ngenerate: {template: alpaca}"]
)
def test_pitfall_11_template_other_than_trained_on_is_refused(write, text):
    assert "a model must be asked with the prompt it was trained on" in message_of(write(text))


@pytest.mark.parametrize(
    ("text", "name"),
    [("promote: {name: 'my-{profile}-model'}", "my-mine-model"), ("promote: {margin: 1}", "touchstone-mine")],
)
def test_the_profiles_name_is_filled_into_the_models(write, text, name):
    assert load_profile(write(text)).promote.name == name


@pytest.mark.parametrize("text", ["tokenize: {kind: gpt2}", "vocabulary: v.zip"])
def test_gpt2s_tokenizer_goes_with_its_vocabulary(write, text):
    assert "vocabulary goes with tokenize.kind=gpt2" in message_of(write(text))


# Overrides


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("pretrain.steps=7", lambda profile: profile.pretrain.steps == 7),
        ("pretrain.learning_rate=2e-3", lambda profile: profile.pretrain.learning_rate == 0.002),
        ("pretrain.size=124M", lambda profile: profile.pretrain.size == "124M"),
        ("pretrain.sample_prompt=a=b", lambda profile: profile.pretrain.sample_prompt == "a=b"),
        ("pretrain.sample_prompt=''", lambda profile: profile.pretrain.sample_prompt == ""),
        ("rows.shuffle=False", lambda profile: profile.rows.shuffle is False),
        ("judge.scorer=ollama:llama3.2", lambda profile: profile.judge.scorer == "ollama:llama3.2"),
        ("judge.host=null", lambda profile: profile.judge.host is None),
        ("pretrain={steps: 7, seed: 1}", lambda profile: profile.pretrain == PretrainConfig(steps=7, seed=1)),
        ("corpus.sources.1.seed=5", lambda profile: profile.corpus.sources[1].seed == 5),
        (
            "corpus.sources.0={made: skills}",
            lambda profile: (
                [source.made for source in profile.corpus.sources] == ["skills", "python-reference"]
            ),
        ),
        (
            "corpus.sources=[{path: x}, {path: y}]",
            lambda profile: [source.name for source in profile.corpus.sources] == ["x", "y"],
        ),
        ("description=mine", lambda profile: profile.description == "mine"),
    ],
)
def test_a_setting_is_overridden(write, override, read):
    path = write(
        "judge: {host: elsewhere}\npretrain: {sample_prompt: Once}",
        corpus="corpus:\n  sources:\n    - path: a.txt\n    - made: python-reference",
    )
    assert not read(load_profile(path))
    assert read(load_profile(path, [override]))


def test_the_last_override_wins(write):
    assert load_profile(write(), ["pretrain.steps=7", "pretrain.steps=8"]).pretrain.steps == 8


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("pretrain.steps", "--set 'pretrain.steps': expected a.b=value, for example"),
        ("=7", "--set '=7': expected a.b=value"),
        ("pretrain.steps=[7", "--set pretrain.steps: '[7' is not a valid value: while parsing"),
        ("pretrain.step=7", "there is no setting pretrain.step; did you mean pretrain.steps?"),
        ("pretrain..steps=7", "there is no setting pretrain.; "),
        ("pretrain.steps=", "pretrain.steps: Input should be a valid integer, found None"),
        ("pretrain.steps=yes", "pretrain.steps: Input should not be a boolean, found True"),
        ("corpus.sources.1.path=x", "'1' is not a position in a list of 1 (counted from 0)"),
        ("corpus.sources.1=x", "'1' is not a position in a list of 1"),
        ("corpus.sources.-1.path=x", "'-1' is not a position in a list of 1"),
        ("corpus.sources.².path=x", "'²' is not a position in a list of 1"),
        ("corpus.sources.path=x", "'path' is not a position in a list of 1"),
    ],
)
def test_an_override_that_makes_no_sense_is_named(write, override, expected):
    message = message_of(write(corpus="corpus:\n  sources:\n    - path: a.txt"), override)
    assert expected in message
    assert "\n" not in message


# Paths and mirrors


def test_paths_are_relative_to_the_profile_and_overrides_to_here(write, tmp_path):
    path = write(corpus="corpus:\n  sources:\n    - path: a.txt\n    - path: /b.txt\n    - path: c.txt")
    profile = load_profile(path, ["corpus.sources.2.path=c.txt"])
    assert [source.path for source in profile.corpus.sources] == [
        tmp_path / "profiles" / "a.txt",
        Path("/b.txt"),
        Path.cwd() / "c.txt",
    ]
    assert profile.instructions.sources[0].path == tmp_path / "profiles" / "b.json"
    assert load_profile(path, ["corpus=d.txt"]).corpus.sources[0].path == Path.cwd() / "d.txt"


@pytest.mark.parametrize(
    "name",
    [
        "row #1.json",
        "#1.json",
        "what? now.json",
        "colon: x.json",
        "50% off.json",
        "-dash.json",
        "a\nb.json",
        "2024",
    ],
)
def test_a_path_is_taken_as_it_is_written(write, name):
    """In YAML ` #` begins a comment and `: ` a mapping, in an address `?` and `#` end the path."""
    for override in (f"corpus={name}", f"corpus={Path.cwd()}/{name}", f"corpus.sources.0.path={name}"):
        (source,) = load_profile(write(corpus="corpus: {sources: [{path: x}]}"), [override]).corpus.sources
        assert source.path == Path.cwd() / name
        assert source.name == name


@pytest.mark.parametrize("value", ["'a.txt'", '"a.txt"', "{sources: [{path: a.txt}]}"])
def test_a_path_may_be_written_as_yaml_too(write, value):
    (source,) = load_profile(write(), [f"corpus={value}"]).corpus.sources
    assert source.path == Path.cwd() / "a.txt"
    assert load_profile(write(), ["corpus=null"]).corpus is None


@pytest.mark.parametrize(
    "address", ["https://host/a.json?x=1", "https://host/a.json#x", "https://host/a.json?b#c/d"]
)
def test_an_address_names_its_file_without_what_is_asked_of_it(address):
    (source,) = DownloadConfig.model_validate(address).sources
    assert (source.name, source.urls) == ("a.json", (address,))


@pytest.mark.parametrize(
    ("named", "known"), [("", ""), ("Latin-1", "iso8859-1"), ("cp1252", "cp1252"), ("UTF8", "utf-8")]
)
def test_an_encoding_has_one_name(named, known):
    assert RowsConfig(encoding=named).encoding == TokenizeConfig(encoding=named).encoding == known


@pytest.mark.parametrize("named", ["latin-9000", "hex", "rot13", "zip", "undefined", "a\0b"])
def test_an_encoding_that_is_none_of_text_is_named(named):
    with pytest.raises(ValidationError, match="is no encoding of text; known are utf-8, utf-16-le, latin-1"):
        RowsConfig(encoding=named)


@pytest.mark.parametrize("text", ["https://x.org/a.txt", "hf:owner/name"])
def test_an_address_is_not_taken_for_a_path(write, text):
    (source,) = load_profile(write(corpus=f"corpus: {text}")).corpus.sources
    assert source.path is None


def test_a_relative_path_to_a_profile_anchors_its_paths_too(write, tmp_path):
    write()
    profile = load_profile("../profiles/mine.yaml")
    assert profile.corpus.sources[0].path == tmp_path / "profiles" / "a.txt"


@pytest.mark.parametrize("mirror", ["/mirror", "https://mirror.org/files"])
def test_a_mirror_reaches_every_download(write, mirror):
    text = "tokenize: {kind: gpt2}\nvocabulary: {sources: [{path: v}], timeout: 5}"
    plain = load_profile(write(text))
    mirrored = load_profile(write(text), mirror=mirror)
    for name in {*DOWNLOADS} - {"labelled"}:
        assert getattr(mirrored, name) == getattr(plain, name).model_copy(update={"mirror": mirror})
        assert getattr(mirrored, name).key_fields() == getattr(plain, name).key_fields()


def test_every_download_of_a_profile_gets_the_mirror():
    downloads = {
        name for name, field in Profile.model_fields.items() if "DownloadConfig" in str(field.annotation)
    }
    assert downloads == set(DOWNLOADS)


def test_mirror_comes_first_but_profiles_without_need_skip_it():
    assert load_profile("quickstart", mirror="/mirror").vocabulary is None


# Where the base model is from, and what rows make of it

LABELLED = {"instructions": "labelled: b.tsv"}


def test_each_shape_of_a_profile_runs_its_own_stages(write):
    before, judged = ["download", "rows"], ["generate", "judge", "promote", "report"]
    shapes = {
        "": [*before, "tokenize", "preflight", "pretrain", "finetune", *judged],
        "dpo: {}": [*before, "tokenize", "preflight", "pretrain", "finetune", "dpo", *judged],
    }
    for text, stages in shapes.items():
        assert load_profile(write(text)).stages() == stages
    taken_over = {"corpus": "base: owner/name"}
    assert load_profile(write(**taken_over)).stages() == [*before, "base", "preflight", "finetune", *judged]
    labelled = load_profile(write(**LABELLED))
    assert labelled.stages() == [
        *before,
        "tokenize",
        "preflight",
        "pretrain",
        "classify",
        "predict",
        "promote",
        "report",
    ]
    assert load_profile(write(**taken_over | ONLY)).stages() == ["base", "report"]
    assert load_profile(write(**ONLY)).stages() == ["download", "tokenize", "pretrain", "report"]
    assert load_profile(write(corpus="")).stages() == shapes[""]


@pytest.mark.parametrize(
    ("text", "other", "expected"),
    [
        ("base: owner/name", {}, "corpus and base: a model is either pretrained on a corpus or imported"),
        ("labelled: c.tsv", {}, "instructions and labelled: choose one"),
        (
            "report: {}",
            {"corpus": ""} | {"instructions": ""},
            "needs a corpus, a base model, instructions or labelled",
        ),
        (
            "pretrain: {steps: 5}\ntokenize: {kind: bpe}",
            {"corpus": "base: owner/name"},
            "pretrain.steps, tokenize.kind: set, but the base model is imported",
        ),
        ("judge: {seed: 5}", LABELLED, "judge.seed: set, but labelled texts make a classifier"),
        ("classify: {epochs: 5}", {}, "classify.epochs: set, but only labelled texts are classified"),
        (
            "tokenize: {include_rows: true}",
            {"corpus": ""},
            "tokenize.include_rows: set, but the corpus is the training rows already",
        ),
        (
            "finetune: {tune: lora, lora: {adapters: kept}}\ndpo: {}",
            {},
            "finetune.lora.adapters is kept, but dpo goes on with the whole model",
        ),
        ("dpo: {template: phi3}", {}, "dpo.template is phi3, finetune.template alpaca"),
        ("generate: {top_k: 5}", {}, "generate: top_k: set, but not used by decoding: greedy"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(write, text, other, expected):
    assert expected in message_of(write(text, **other))


def test_the_template_of_the_fine_tuning_is_that_of_all(write):
    profile = load_profile(write("finetune: {template: chatml}\ndpo: {beta: 0.2}"))
    assert profile.generate.template == profile.dpo.template == "chatml"


def test_a_base_model_is_a_name_or_a_folder_beside_the_profile(write, tmp_path):
    assert load_profile(write(corpus="base: owner/name")).base == BaseConfig(model="owner/name")
    beside = load_profile(write(corpus="base: {model: ./here}")).base
    assert Path(beside.model) == tmp_path / "profiles" / "here"
    mirrored = load_profile(write(corpus="base: owner/name"), mirror="/mirror").base
    assert mirrored.mirror == "/mirror"
    assert mirrored.key_fields() == BaseConfig(model="owner/name").key_fields()


@pytest.mark.parametrize("shape", [{"corpus": "base: owner/name"}, LABELLED, {"corpus": ""}], ids=str)
def test_a_profile_of_another_shape_is_the_same_when_read_again(write, shape):
    profile = load_profile(write(**shape))
    assert Profile.model_validate(profile.model_dump(mode="json")) == profile


@pytest.mark.parametrize("name", ["quickstart", "shakespeare", "spam", "book", "preference"])
def test_no_profile_for_a_cpu_insists_on_bfloat16(name):
    """It takes hours in place of minutes where the hardware emulates it."""
    stages = load_profile(name).model_dump().values()
    asked = [stage["precision"] for stage in stages if isinstance(stage, dict) and "precision" in stage]
    assert asked
    assert "bfloat16" not in asked


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("pretrain.documents=apart", "pretrain: documents is now document_mask: false where it was joined"),
    ],
)
def test_a_setting_that_was_renamed_is_told_by_its_new_name(override, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        load_profile("quickstart", [override])


def test_a_renamed_setting_of_the_pools_is_told():
    with pytest.raises(ValueError, match="crashes is now max_restarts"):
        Pools(crashes=3)


# Sections that profiles share


@pytest.fixture
def included(tmp_path):
    """Loads a.yaml of some files; `b` stands in a folder below it."""

    def load(**files):
        (tmp_path / "shared").mkdir()
        for name, text in files.items():
            folder = tmp_path if name == "a" else tmp_path / "shared"
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        return load_profile(str(tmp_path / "a.yaml"))

    return load


def test_profile_takes_sections_of_others_with_their_paths(included, tmp_path):
    profile = included(
        a="include: [shared/b.yaml]\ninstructions: rows.json\n", b="include: c.yaml\n", c="corpus: c.txt\n"
    )
    assert profile.name == "a"
    assert profile.corpus.sources[0].path == tmp_path / "shared" / "c.txt"
    assert profile.instructions.sources[0].path == tmp_path / "rows.json"


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        ("include: shared/none.yaml", "", r"a\.yaml: include: there is no file .*none\.yaml"),
        ("include: shared/b.yaml", "include: ../a.yaml", r"a\.yaml includes b\.yaml includes a\.yaml"),
        ("include: a.yaml", "", r"a\.yaml includes a\.yaml"),
        ("include: shared/b.yaml\ncorpus: c.txt", "corpus: d.txt", r"corpus: a duplicate, since b\.yaml"),
        ("include: shared/b.yaml", "corpsu: d.txt", r"there is no setting corpsu; did you mean corpus\?"),
    ],
)
def test_what_cannot_be_included_is_refused(included, a, b, told):
    with pytest.raises(UsageError, match=told):
        included(a=a, b=b)


def test_profiles_on_gpt2_s_vocabulary_share_one_piece():
    book, *others = (load_profile(name).vocabulary for name in ("book", "gpt2-124m", "preference"))
    assert [source.name for source in book.sources] == ["gpt2/encoder.json", "gpt2/vocab.bpe"]
    assert others == [book, book]
