"""The tasks of lm-eval: which there are, what each is downloaded from, and which cannot be asked."""

import pytest

from tasks.benchmark import catalogue
from tasks.benchmark.catalogue import (
    KNOWN_COMMITS,
    data_of,
    fingerprints,
    hub_tasks,
    questions_of,
    require_lm_eval,
    with_revisions,
)
from tasks.config import BenchmarkConfig, SuiteConfig
from tasks.errors import StageError, UsageError

COMMIT = "c0ffee" + "0" * 34


def tasks_of(*names, **settings):
    return hub_tasks(SuiteConfig(tasks=names, **settings))


def test_task_says_what_is_downloaded():
    (arc,) = tasks_of("arc_easy")
    assert (arc.dataset, arc.subset, arc.splits) == ("allenai/ai2_arc", "ARC-Easy", ["test"])
    (piqa,) = tasks_of("piqa")
    assert (piqa.dataset, piqa.subset, piqa.splits) == ("baber/piqa", None, ["validation"])


def test_examples_are_downloaded_where_they_are_asked_for():
    (arc,) = tasks_of("arc_easy", shots=3)
    assert (arc.shots, arc.splits) == (3, ["test", "train"])
    (anatomy,) = tasks_of("mmlu_anatomy", shots=3)
    assert anatomy.splits == ["test", "dev"]
    (island,) = tasks_of("blimp_adjunct_island", shots=3)
    assert (island.shots, island.splits) == (0, ["train"])  # it says that there are none


def test_groups_and_tags_stand_for_their_tasks():
    blimp = tasks_of("blimp", "blimp_adjunct_island")
    assert len(blimp) == 67
    assert blimp[0].name == "blimp_adjunct_island"
    mmlu = tasks_of("mmlu")
    assert len(mmlu) == 57
    assert {task.dataset for task in mmlu} == {"cais/mmlu"}
    assert {task.name for task in tasks_of("ai2_arc")} == {"arc_easy", "arc_challenge"}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("arc_esy", r"has no task 'arc_esy'; did you mean arc_easy or .*\? Rows of your own go into"),
        ("qqqqqqqqqqqqq", r"has no task .* a list: lm_eval ls tasks"),
        ("gsm8k", r"it is of the kind generate_until"),
        ("wikitext", r"it is of the kind loglikelihood_rolling"),
        ("humaneval", r"it runs what a model writes"),
        ("squadv2", r"it is a program, not a description"),
    ],
)
def test_task_that_cannot_be_asked_is_refused_with_the_reason(name, why):
    with pytest.raises(UsageError, match=why):
        tasks_of(name)


def test_data_come_from_known_commits_as_numbers():
    config = with_revisions(BenchmarkConfig(tasks=("arc_easy", "arc_challenge", "piqa")))
    sources = data_of(config).sources
    assert [source.name for source in sources] == [
        "arc_easy/test.jsonl",
        "arc_challenge/test.jsonl",
        "piqa/validation.jsonl",
    ]
    assert {source.labels for source in sources} == {"numbers"}
    assert [source.revision for source in sources] == [KNOWN_COMMITS[source.dataset] for source in sources]


def test_commit_that_is_named_goes_before_a_known_one():
    config = BenchmarkConfig(tasks=("arc_easy",), revisions={"allenai/ai2_arc": COMMIT})
    (source,) = data_of(with_revisions(config)).sources
    assert source.revision == COMMIT
    with pytest.raises(UsageError, match=r"revisions names owner/other, which no task asks from"):
        with_revisions(config.model_copy(update={"revisions": {"owner/other": COMMIT}}))


def test_commit_that_is_not_known_is_asked_for(monkeypatch):
    asked = []

    def commit_of(kind, name, revision):
        asked.append((kind, name, revision))
        return COMMIT

    monkeypatch.setattr(catalogue, "commit_of", commit_of)
    config = with_revisions(BenchmarkConfig(tasks=("race",)))
    assert asked == [("dataset", "EleutherAI/race", None)]
    assert config.revisions == {"EleutherAI/race": COMMIT}
    monkeypatch.undo()
    with pytest.raises(StageError, match=r"EleutherAI/race .* could not be downloaded"):
        with_revisions(BenchmarkConfig(tasks=("race",)))


def test_mirror_serves_tasks_and_questions(tmp_path):
    given = {"tasks": ["copa"], "questions": "quiz.jsonl", "mirror": str(tmp_path)}
    config = with_revisions(BenchmarkConfig.model_validate(given))
    assert config.revisions == {}
    assert data_of(config).mirror == questions_of(config).mirror == str(tmp_path)


def test_revisions_and_mirror_stay_out_of_the_key(tmp_path):
    plain = BenchmarkConfig(tasks=("arc_easy",))
    other = plain.model_copy(
        update={"revisions": {"a/b": COMMIT}, "mirror": str(tmp_path), "batch_tokens": 9}
    )
    assert plain.key_fields() == other.key_fields()
    assert plain.key_fields() != plain.model_copy(update={"limit": 3}).key_fields()


def test_missing_package_is_told_with_its_extra(monkeypatch):
    monkeypatch.setattr(catalogue, "PACKAGE", "lm_eval_that_is_not_there")
    for ask in (require_lm_eval, lambda: fingerprints(SuiteConfig()), lambda: tasks_of("arc_easy")):
        with pytest.raises(UsageError, match=r"pip install 'touchstone\[benchmark\]'"):
            ask()
