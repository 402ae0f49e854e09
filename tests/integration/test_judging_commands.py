"""`touchstone judge`, `audit` and `compare` as a user meets them."""

import json

import mlflow.artifacts
import pytest

from tasks.makers.skills import make_rows
from tests.chat_server import Fault
from tests.judges import honest, noisy, obedient
from tests.ollama_server import OllamaServer
from tests.openai_server import OpenAIServer

JUDGE = "ollama:llama3.2"
CRITERIA = """\
criteria:
- name: correct
  question: Does the response say what the reference says?
  anchors: {0: something else, 5: the same}
  weight: 3
- name: polite
  question: Is the response polite?
  anchors: {0: rude, 3: neutral, 5: polite}
  reference: none
"""


def by_criterion(asked):
    """Honest about what is correct; polite is what answers: nothing else has any points."""
    if asked.criterion == "correct":
        return honest(asked)
    return 4 if asked.response.startswith("Certainly") else 0


DIGESTS = {honest: "a" * 64, obedient: "b" * 64, noisy: "c" * 64, by_criterion: "d" * 64}


@pytest.fixture(scope="module")
def workplace(make_workplace):
    """With three files of responses: most of them right, all right, and all wrong."""
    place = make_workplace("judging")
    rows = make_rows(30, seed=1)
    for name, response in {
        "most.json": lambda index, row: row["output"] if index % 4 else "I cannot say.",
        "right.json": lambda index, row: row["output"],
        "wrong.json": lambda index, row: "Input: Input: Input:" if index % 2 else "No idea at all",
    }.items():
        answered = [row | {"model_response": response(index, row)} for index, row in enumerate(rows)]
        (place.folder / name).write_text(json.dumps(answered), encoding="utf-8")
    return place


@pytest.fixture
def served():
    """A server for each judge, with a digest of its own: answers are kept by it."""
    servers = []

    def start(judge, **options):
        server = OllamaServer(judge=judge, digest=DIGESTS[judge], slots=4, **options).__enter__()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.mark.slow
def test_a_file_is_scored_by_a_metric_without_any_server(workplace):
    result = workplace("judge", "most.json", "--json")
    assert result.status == 0, result.err
    entry = result.json["scores"][0]
    assert (entry["model"], entry["scorer"], entry["kind"]) == ("most.json", "metric:chrf", "metric")
    assert (entry["rows"], entry["scored"], entry["missing"]) == (30, 30, 0)
    assert 70 <= entry["mean"] < 100
    assert entry["low"] < entry["mean"] < entry["high"]
    assert result.json["audits"] == []


@pytest.mark.parametrize("against", [(), ("--despite-audit",)])
def test_unreadable_answers_are_refused_with_the_reason(workplace, served, against):
    server = served(obedient, faults=[Fault("no_count", times=None)])
    result = workplace(
        "judge", "wrong.json", "--judge", JUDGE, "--json", *against, OLLAMA_HOST=server.address
    )
    assert (result.status, result.json["status"]) == (3, "refused"), result.err
    told = "failed its audit: no answer could be read: " if not against else "no answer could be read of "
    assert told in result.json["error"]
    assert "the server does not say how much of the prompt it read" in result.json["error"]
    assert result.json["audits"][0]["verdict"] == "fail"


def test_a_judge_is_audited_before_it_scores_and_asked_only_once(workplace, served):
    server = served(honest)
    result = workplace("judge", "most.json", "--judge", JUDGE, "--json", OLLAMA_HOST=server.address)
    assert result.status == 0, result.err
    assert [stage["name"] for stage in result.json["stages"]] == [
        "download responses",
        "responses",
        "audit",
        "judge",
    ]
    entry = result.json["scores"][-1]
    assert (entry["scorer"], entry["kind"], entry["status"]) == (JUDGE, "judge", "ok")
    assert (result.json["audits"][0]["verdict"], result.json["audits"][0]["rows"]) == ("pass", 30)
    asked = len(server.chats)
    other = workplace(
        "judge", "most.json", "--judge", JUDGE, "--set", "judge.resamples=500", OLLAMA_HOST=server.address
    )
    assert len(server.chats) == asked
    assert other.status == 0, other.err
    assert "llama3.2, a judge" in other.out
    assert "passed: its scores count" in other.out


def test_a_judge_that_obeys_the_response_is_refused(workplace, served):
    server = served(obedient)
    result = workplace("judge", "right.json", "--judge", JUDGE, "--json", OLLAMA_HOST=server.address)
    assert result.status == 3
    assert "AUC against injection" in result.json["error"]
    entry = result.json["scores"][-1]
    assert (entry["status"], entry["mean"], entry["scored"]) == ("judge_failed_audit", None, 0)
    assert result.json["scores"][0]["mean"] == 100
    assert "Traceback" not in result.err


@pytest.mark.slow
def test_refused_judge_is_told_of_and_counts_only_by_override(workplace, served):
    server = served(obedient)
    arguments = ("judge", "right.json", "--judge", JUDGE)
    shown = workplace(*arguments, OLLAMA_HOST=server.address)
    assert shown.status == 3
    assert "the judge failed its audit" in shown.out
    assert "exact match" in shown.out
    overridden = workplace(*arguments, "--despite-audit", OLLAMA_HOST=server.address)
    assert overridden.status == 0, overridden.err
    assert "count only because despite_audit says so" in overridden.out


@pytest.mark.slow
def test_an_audit_says_pass_or_fail(workplace, served):
    rows = ("--rows", "right.json")
    failed = workplace("audit", "--judge", JUDGE, *rows, "--json", OLLAMA_HOST=served(obedient).address)
    assert failed.status == 3
    assert (failed.json["verdict"], failed.json["rows"]) == ("fail", 30)
    assert {"name", "value", "low", "high", "verdict"} <= failed.json["gates"][0].keys()
    good = served(honest)
    passed = workplace("audit", "--json", OLLAMA_HOST=good.address)  # rows made here, all of them
    assert passed.status == 0, passed.err
    assert passed.json["verdict"] == "pass"
    assert passed.json["rows"] == passed.json["of"] > 100
    sampled = workplace("audit", "--sample", "8", OLLAMA_HOST=good.address)
    assert sampled.status == 0, sampled.err
    assert "passed with warnings: its scores count" in sampled.out  # 8 rows show too little to pass
    assert "injection" in sampled.out


@pytest.mark.slow
def test_a_metric_is_not_audited(workplace):
    result = workplace("audit", "--judge", "metric:chrf", "--json")
    assert (result.status, "not a judge" in result.json["error"]) == (2, True)


@pytest.mark.slow
def test_two_files_are_compared_row_by_row(workplace):
    result = workplace("compare", "right.json", "wrong.json", "--json")
    assert result.status == 0, result.err
    first = result.json["differences"][0]
    assert (result.json["a"], result.json["b"], first["scorer"]) == (
        "right.json",
        "wrong.json",
        "metric:chrf",
    )
    assert first["low"] > 0
    assert first["wins"]["count"] == 30
    assert first["p"] < 0.001
    assert len(result.json["moved"]) == 10
    again = workplace("compare", "right.json", "wrong.json", "--json")
    assert (again.json["run_id"], again.json["differences"]) == (
        result.json["run_id"],
        result.json["differences"],
    )
    assert all(stage["cached"] for stage in again.json["stages"])
    assert "Prefect" not in again.err
    shown = workplace("compare", "right.json", "wrong.json")
    assert "A is better" in shown.out
    assert "Input: Input: Input:" in shown.out


@pytest.mark.slow
def test_a_judge_is_shown_both_in_both_orders(workplace, served):
    server = served(honest)
    result = workplace(
        *("compare", "most.json", "right.json", "--judge", JUDGE, "--pairwise", "--json"),
        OLLAMA_HOST=server.address,
    )
    assert result.status == 0, result.err
    assert "audit choices" in [stage["name"] for stage in result.json["stages"]]
    found = result.json["pairwise"]
    assert (found["wins"]["count"], found["ties"]["count"], found["losses"]["count"]) == (0, 22, 8)
    assert found["contradictions"]["count"] == 0


@pytest.mark.slow
def test_files_of_other_rows_are_not_compared(workplace):
    rows = json.loads((workplace.folder / "right.json").read_text())
    (workplace.folder / "some.json").write_text(json.dumps(rows[:10]))
    result = workplace("compare", "right.json", "some.json", "--json")
    assert (result.status, "30 rows and B 10, of which 10 are the same" in result.json["error"]) == (2, True)
    common = workplace("compare", "right.json", "some.json", "--only-common", "--json")
    assert (common.status, common.json["rows"]) == (0, 10)


@pytest.mark.slow
def test_the_models_of_a_run_are_compared(finished):
    workplace, result = finished
    run = result.json["run_id"]
    compared = workplace("compare", run, f"{run}:base", "--json")
    assert compared.status == 0, compared.err
    assert (compared.json["a"], compared.json["b"]) == ("tiny fine-tuned", "tiny base")
    assert compared.json["rows"] == 6
    wrong = workplace("compare", run, f"{run}:better", "--json")
    assert (wrong.status, "there are base, fine-tuned" in wrong.json["error"]) == (2, True)


@pytest.mark.slow
def test_a_server_that_fails_for_a_while_costs_time_and_no_row(workplace, served):
    faults = [Fault("503", times=3), Fault("500", times=2), Fault("drop", times=1), Fault("garbage", times=2)]
    server = served(noisy, faults=faults)
    result = workplace(
        *("judge", "wrong.json", "--judge", JUDGE, "--json", "--set", "judge.timeout=5"),
        OLLAMA_HOST=server.address,
    )
    assert result.status == 0, result.err
    assert result.json["scores"][-1]["missing"] == 0


@pytest.mark.slow
def test_a_planted_key_is_in_no_file_and_no_output(workplace):
    key = "sk-planted-0123456789"
    with OpenAIServer(judge=honest, key=key) as server:
        asked = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": key}
        arguments = ("judge", "wrong.json", "--judge", f"openai:{server.models[0]}", "--json", "--verbose")
        result = workplace.process(*arguments, **asked)  # Prefect's log lines are only seen in a new process
        wrong = asked | {"OPENAI_API_KEY": key + "x"}
        refused = workplace.process(*arguments, "--set", "judge.seed=5", **wrong)
    assert result.status == 0, result.err
    assert refused.status == 1
    assert "OPENAI_API_KEY" in refused.json["error"]
    for text in (result.out, result.err, refused.out, refused.err):
        assert key not in text
    for path in workplace.mlruns.rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_the_calls_and_the_scores_of_a_row_are_in_mlflow(workplace, served):
    server = served(honest)
    result = workplace("judge", "wrong.json", "--judge", JUDGE, "--json", OLLAMA_HOST=server.address)
    stage = next(stage for stage in result.json["stages"] if stage["name"] == "judge")
    tracking = workplace.store()
    uri = tracking.client.get_run(stage["run_id"]).info.artifact_uri
    calls = mlflow.artifacts.load_text(f"{uri}/auxiliary/calls.jsonl").splitlines()
    assert {"request", "body", "answer", "score", "reason", "latency"} <= json.loads(calls[0]).keys()
    traces = tracking.client.search_traces(
        locations=[tracking.experiment_id], run_id=stage["run_id"], max_results=100
    )
    assert len(traces) == 30
    scores = {
        trace.info.tags["touchstone.row"]: assessment.value
        for trace in traces
        for assessment in trace.info.assessments
        if assessment.name == JUDGE
    }
    assert scores["1"] == 0  # a loop, decided without the judge


@pytest.mark.slow
def test_file_is_judged_by_own_criteria_each_audited_by_itself(workplace, served):
    (workplace.folder / "criteria.yaml").write_text(CRITERIA)
    own = ("--criteria", "criteria.yaml", "--judge", JUDGE)
    server = served(by_criterion)
    result = workplace("judge", "most.json", *own, "--json", OLLAMA_HOST=server.address)
    assert result.status == 0, result.err
    assert [stage["name"] for stage in result.json["stages"]][2:] == [
        "audit correct",
        "audit polite",
        "judge",
    ]
    means = {entry["scorer"]: entry["mean"] for entry in result.json["scores"][-3:]}
    assert list(means) == [f"{JUDGE} on correct", f"{JUDGE} on polite", JUDGE]
    assert means[JUDGE] == pytest.approx((3 * means[f"{JUDGE} on correct"] + means[f"{JUDGE} on polite"]) / 4)
    assert [audit["falsifiable"] for audit in result.json["audits"]] == [True, False]
    shown = workplace("judge", "most.json", *own, OLLAMA_HOST=server.address)
    assert "polite, by llama3.2, a judge" in shown.out
    assert "its scores on correct (weight 3) and polite (weight 1)" in " ".join(shown.out.split())
    audited = workplace("audit", "--rows", "most.json", *own, "--json", OLLAMA_HOST=server.address)
    assert audited.status == 0, audited.err
    assert [audit["criterion"] for audit in audited.json["audits"]] == ["correct", "polite"]
    assert audited.json["verdict"] == "pass"


def test_rows_without_references_are_judged_by_criteria(workplace, served):
    (workplace.folder / "polite.yaml").write_text(
        "criteria:\n" + CRITERIA[CRITERIA.index("- name: polite") :]
    )
    rows = [{"prompt": f"Greet guest {n}.", "response": f"Certainly! Hello, {n}."} for n in range(30)]
    (workplace.folder / "greetings.json").write_text(json.dumps(rows))
    server = served(by_criterion)
    arguments = ("judge", "greetings.json", "--criteria", "polite.yaml", "--judge", JUDGE)
    result = workplace(*arguments, "--json", OLLAMA_HOST=server.address)
    assert result.status == 0, result.err
    assert [(entry["scorer"], entry["mean"]) for entry in result.json["scores"]] == [
        (f"{JUDGE} on polite", 80.0),
        (JUDGE, 80.0),
    ]
