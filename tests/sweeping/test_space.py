"""What `--over` says, and what a profile does not let a sweep try."""

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.sweeping.objectives import objective_of, require_tellable, validate_config
from flows.sweeping.space import (
    ProfileSource,
    check_space,
    grid_of,
    own_point,
    parse_dimension,
    parse_space,
    size_of,
)
from tasks.errors import UsageError
from tests.integration.conftest import TINY


@pytest.fixture
def tiny(tmp_path):
    """The tiny profile, with overrides."""
    (tmp_path / "tiny.yaml").write_text(TINY)

    def load(*overrides):
        source = ProfileSource(str(tmp_path / "tiny.yaml"), overrides)
        return source, source.load()

    return load


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=1e-4..1e-2:log", {"low": 1e-4, "high": 1e-2, "log": True, "whole": False}),
        ("a.b=1..8", {"low": 1.0, "high": 8.0, "log": False, "whole": True}),
        ("a.b=1..8:log", {"low": 1.0, "high": 8.0, "log": True, "whole": True}),
        ("a.b=-1.5..2", {"low": -1.5, "high": 2.0, "log": False, "whole": False}),
        ("a.b=4,8,16", {"values": ("4", "8", "16")}),
        ("a.b = adamw, muon", {"values": ("adamw", "muon")}),
        ("a.b=[q, k],[q]", {"values": ("[q, k]", "[q]")}),
        ("a.b='x,y',z", {"values": ("'x,y'", "z")}),
    ],
)
def test_dimension_is_a_range_or_a_list(text, expected):
    found = parse_dimension(text).model_dump(exclude_defaults=True)
    defaults = {"log": False, "whole": False}
    assert found == {"setting": "a.b"} | {k: v for k, v in expected.items() if defaults.get(k) is not v}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a.b", "expected SECTION.KEY="),
        ("a.b=", "expected SECTION.KEY="),
        ("=1,2", "expected SECTION.KEY="),
        ("a.b=3", "3 alone is no choice"),
        ("a.b=3,3", "a value is a duplicate"),
        ("a.b=2..1", "does not rise"),
        ("a.b=0..1:log", "begins above 0, found 0"),
        ("a.b=1..2:lag", "is no range of numbers"),
        ("a.b=4,8:log", "is no range of numbers"),
    ],
)
def test_dimension_that_is_none_is_told(text, told):
    with pytest.raises(UsageError, match=told):
        parse_dimension(text)


def test_space_needs_dimensions_each_once():
    with pytest.raises(UsageError, match="--over is missing"):
        parse_space([])
    with pytest.raises(UsageError, match=r"--over a\.b: a duplicate"):
        parse_space(["a.b=1,2", "a.b=3,4"])


@given(
    st.floats(1e-9, 1e6),
    st.floats(1.001, 1e3),
    st.booleans(),
    st.floats(0, 1),
)
def test_written_number_is_read_as_nearly_itself(low, factor, log, share):
    dimension = parse_dimension(f"a.b={low!r}..{low * factor!r}" + (":log" if log else ""))
    number = low + share * (low * factor - low)
    assert float(dimension.text(number)) == pytest.approx(number, rel=1e-5)


def test_grid_has_each_point_once():
    space = parse_space(["a.b=1..3", "c.d=x,y"])
    points = grid_of(space)
    assert len(points) == size_of(space) == 6
    assert points[0] == {"a.b": "1", "c.d": "x"}
    assert len({tuple(point.items()) for point in points}) == 6
    with pytest.raises(UsageError, match="a grid has an end"):
        grid_of(parse_space(["a.b=0.5..1"]))
    with pytest.raises(UsageError, match="1,000,000 combinations"):
        grid_of(parse_space(["a.b=1..1000", "c.d=1..1000"]))


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ("finetune.learning_rat=1e-3,1e-2", r"did you mean finetune\.learning_rate\?"),
        ("finetun.epochs=1,2", "there is no setting finetun"),
        ("finetune.epochs=1,two", "unable to parse string as a number, found 'two'"),
        ("finetune.learning_rate=0..1e-2", "Input should be greater than 0"),
        ("pretrain.steps=1.0..3.0", "should be a valid integer"),
        ("finetune.lora.rank=4,8", "lora is set, but tune is full"),
        ("generate.temperature=0.1,0.5", "does not depend on it"),
        ("judge.resamples=100,200", "does not depend on it"),
        ("seeds=1,2", "does not depend on it"),
        ("dpo.beta=0.1,0.2", "does not depend on it"),
        ("finetune.seed=1,2", "the best of several seeds is the luckiest"),
        ("finetune.max_length=64,128", "measures something else"),
        ("tokenize.vocab_size=300,400", "measures something else"),
        ("rows.train=0.5,0.8", "measures something else"),
        ("finetune=1,2", "name a setting of it"),
        ("finetune.checkpoint_every=1,2", "1 and 2 make the same"),
        ("finetune.epochs=1,1.0", r"1 and 1\.0 make the same"),
    ],
)
def test_setting_that_cannot_be_tried_is_told_before_any_trial(tiny, over, told):
    source, profile = tiny()
    with pytest.raises(UsageError, match=told):
        check_space(source, profile, objective_of(profile, None), parse_space([over]))


def test_every_end_of_a_range_fits_the_profile(tiny):
    source, profile = tiny()
    space = parse_space(["finetune.learning_rate=1e-4..1e-2:log", "pretrain.steps=4..8"])
    check_space(source, profile, objective_of(profile, None), space)


def test_own_point_is_tried_first_where_it_is_among_them(tiny):
    source, profile = tiny()
    among = parse_space(["finetune.learning_rate=1e-3..1e-1:log", "finetune.epochs=1,2.0"])
    assert own_point(source, profile, among) == {"finetune.learning_rate": "0.02", "finetune.epochs": "2.0"}
    beside = parse_space(["finetune.learning_rate=1e-3..1e-2:log", "finetune.epochs=1,2"])
    assert own_point(source, profile, beside) is None


@pytest.mark.parametrize(
    ("overrides", "by", "expected"),
    [
        ((), None, ("finetune", "validation_loss", "minimize", None)),
        (("finetune.keep_by=chrf",), None, ("finetune", "validation_score", "maximize", "metric:chrf")),
        (("finetune.keep_by=chrf",), "validation_loss", ("finetune", "validation_loss", "minimize", None)),
        (("dpo={}",), "reward_accuracy", ("dpo", "reward_accuracy", "maximize", None)),
    ],
)
def test_objective_is_of_the_last_training(tiny, overrides, by, expected):
    _, profile = tiny(*overrides, *(["dpo.template=phi3"] if overrides == ("dpo={}",) else []))
    found = objective_of(profile, by)
    assert (found.stage, found.by, found.measure.direction, found.metric) == expected


def test_objective_that_there_is_not_is_told(tiny):
    _, profile = tiny()
    with pytest.raises(UsageError, match=r"finetune of tiny has validation_loss\. It is there with --set"):
        objective_of(profile, "validation_score")


@pytest.fixture
def spam():
    """A profile that classifies, with overrides."""

    def load(*overrides):
        source = ProfileSource("spam", overrides)
        return source, source.load()

    return load


def test_objective_of_a_classifier_is_of_validation_rows(spam):
    _, profile = spam()
    loss, score = objective_of(profile, None), objective_of(profile, "validation_score")
    assert (loss.stage, loss.by, loss.measure.direction) == ("classify", "validation_loss", "minimize")
    assert (score.measure.direction, score.measure.by_row, score.metric) == ("maximize", True, None)
    found = [validate_config(profile, one) for one in (loss, score)]
    assert [(one.classify == profile.classify, one.score) for one in found] == [(True, False), (True, True)]


@pytest.mark.parametrize(
    ("over", "by", "told"),
    [
        ("rows.train=0.5,0.6", "validation_score", "measures something else"),
        ("labelled.mirror=a,b", None, "measures something else"),
        ("classify.max_length=64,128", None, "measures something else"),
        ("tokenize.vocab_size=512,1024", None, "measures something else"),
        ("classify.seed=1,2", None, "the best of several seeds is the luckiest"),
        ("promote.min_score=80,90", None, "does not depend on it"),
        ("finetune.epochs=1,2", None, "does not depend on it"),
        ("classify.measure_test=true,false", None, "a card and a promotion are of test rows"),
        ("classify.learning_rate=1e-4..1e-3:log", None, None),
        ("classify.tune=full,last-block", None, None),
        ("pretrain.steps=100,200", None, None),
        ("classify.max_length=64,128", "validation_score", None),
        ("tokenize.vocab_size=512,1024", "validation_score", None),
    ],
)
def test_setting_of_a_classifier_is_tried_where_it_is_told(spam, over, by, told):
    source, profile = spam()
    with pytest.raises(UsageError, match=told) if told else nullcontext():
        check_space(source, profile, objective_of(profile, by), parse_space([over]))


def test_test_rows_are_measured_by_every_profile(spam):
    with pytest.raises(UsageError, match=r"classify\.measure_test: set, but a card and a promotion"):
        spam("classify.measure_test=false")
    with pytest.raises(UsageError, match=r"quickstart: classify\.measure_test: set, but only labelled"):
        ProfileSource("quickstart", ("classify.measure_test=false",)).load()


def test_objective_of_pretraining_does_not_depend_on_tokens(tmp_path):
    (tmp_path / "text.yaml").write_text("corpus: {sources: [{path: corpus.txt}]}\n")
    profile = ProfileSource(str(tmp_path / "text.yaml")).load()
    bits, loss = objective_of(profile, None), objective_of(profile, "validation_loss")
    assert (bits.stage, bits.by) == ("pretrain", "bits_per_byte")
    require_tellable(profile, bits, "tokenize.vocab_size")
    with pytest.raises(UsageError, match="measures something else"):
        require_tellable(profile, loss, "tokenize.vocab_size")
