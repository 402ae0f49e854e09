"""deployments/prefect.yaml: what Prefect would let pass is an error that names the deployment and the key."""

import copy

import pytest
import yaml

from flows.server.deployment_file import load_deployments
from flows.server.pools import deployment_of
from flows.stages import STAGES
from tasks.config import AuditConfig, CompareConfig, GenerateConfig, JudgeConfig, PretrainConfig, RowsConfig
from tasks.errors import UsageError
from tests.commands import CHECKOUT

OURS = CHECKOUT / "deployments" / "prefect.yaml"
SOUND = {
    "name": "touchstone",
    "definitions": {
        "pools": [{"name": "cpu-pool", "type": "process", "description": "all"}],
        "stage_pools": {"cpu": {"name": "cpu-pool"}, "gpu": {"name": "cpu-pool"}},
    },
    "deployments": [
        {
            "name": "nightly",
            "entrypoint": "flows.pipeline.pipeline",
            "parameters": {"profile": "quickstart", "pools": {}},
            "work_pool": {"name": "cpu-pool"},
            "schedules": [{"slug": "nightly", "cron": "0 2 * * *", "timezone": "Europe/Paris"}],
        }
    ],
}


@pytest.fixture
def load(tmp_path):
    def load(content):
        path = tmp_path / "prefect.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return load_deployments(path)

    return load


def altered(*path, value):
    """The sound file with one thing in it set, or left out when the value is None."""
    content = copy.deepcopy(SOUND)
    *parents, last = path
    place = content
    for step in parents:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return content


FIRST = ("deployments", 0)
BROKEN = {
    "unknown key": (altered(*FIRST, "parameter", value={}), "nightly.parameter: Extra inputs"),
    "unknown key at the top": (altered("deployment", value=[]), "deployment: Extra inputs"),
    "unknown parameter": (
        altered(*FIRST, "parameters", "profil", value="quickstart"),
        "nightly: the flow touchstone has no parameter profil; it has profile",
    ),
    "parameter of a wrong type": (
        altered(*FIRST, "parameters", "pools", value={"timeout_hours": "long"}),
        "nightly: parameter pools: timeout_hours: Input should be a valid number",
    ),
    "unknown setting in a parameter": (
        altered(*FIRST, "parameters", "pools", value={"time": 3}),
        "nightly: parameter pools: time: Extra inputs",
    ),
    "unknown profile": (
        altered(*FIRST, "parameters", "profile", value="quikstart"),
        "nightly: parameter profile: there is no profile 'quikstart'",
    ),
    "cron that is none": (altered(*FIRST, "schedules", 0, "cron", value="0 25 * * *"), "Invalid cron"),
    "cron in words": (altered(*FIRST, "schedules", 0, "cron", value="every night"), "Invalid cron"),
    "time zone that is none": (
        altered(*FIRST, "schedules", 0, "timezone", value="Europe/Pariss"),
        "nightly.schedules.0: there is no time zone 'Europe/Pariss'",
    ),
    "a folder of time zones": (altered(*FIRST, "schedules", 0, "timezone", value="America"), "no time zone"),
    "deployments that are none": (altered("deployments", value=["nightly"]), "0: Input should be a valid"),
    "an environment that is none": (
        altered(*FIRST, "work_pool", "job_variables", value={"env": ["A=b"]}),
        "nightly.work_pool.job_variables: ",
    ),
    "a schedule that asks nobody": (
        altered(
            *FIRST,
            value=SOUND["deployments"][0]
            | {"entrypoint": "flows.dispatch.stage_flows.rows", "parameters": {}},
        ),
        "schedule nightly: the flow rows needs config, inputs",
    ),
    "wrong together": (
        altered(*FIRST, "schedules", 0, "parameters", value={"overrides": ["pretrain.stepz=1"]}),
        "there is no setting pretrain.stepz; did you mean pretrain.steps?",
    ),
    "no pool of the GPU": (
        altered("definitions", "stage_pools", "gpu", value=None),
        "definitions.stage_pools.gpu: Field required",
    ),
    "no pools of the stages": (
        altered("definitions", "stage_pools", value=None),
        "definitions.stage_pools: Field required; expected the pools that the stages' own deployments go to, "
        "as {cpu: {name: cpu-pool}, gpu: {name: gpu-pool}}",
    ),
    "a pool of the GPU that there is not": (
        altered("definitions", "stage_pools", "gpu", "name", value="gpus"),
        "stage-synthesize-gpu: there is no pool gpus among definitions.pools, there are cpu-pool",
    ),
    "a reaping that starts itself": (
        altered(
            *FIRST,
            value={
                "name": "reap",
                "entrypoint": "flows.server.reaper.reaping",
                "tags": ["touchstone"],
                "work_pool": {"name": "cpu-pool"},
            },
        ),
        "reap: tagged touchstone, it would be started by its own crash",
    ),
    "no time zone": (altered(*FIRST, "schedules", 0, "timezone", value=None), "timezone: Field required"),
    "unknown pool": (
        altered(*FIRST, "work_pool", "name", value="tpu-pool"),
        "nightly: there is no pool tpu-pool among definitions.pools, there are cpu-pool",
    ),
    "no pool": (altered(*FIRST, "work_pool", value=None), "nightly.work_pool: Field required"),
    "no module": (altered(*FIRST, "entrypoint", value="flows.nothing.pipeline"), "No module named"),
    "no flow": (
        altered(*FIRST, "entrypoint", value="flows.dispatch.stage_flows.STAGES"),
        "String should match pattern",
    ),
    "something else than a flow": (
        altered(*FIRST, "entrypoint", value="flows.pipeline.stages"),
        "entrypoint flows.pipeline.stages is no flow but function",
    ),
    "a name twice": (
        SOUND | {"deployments": [*SOUND["deployments"], {**SOUND["deployments"][0], "schedules": []}]},
        "deployment touchstone/nightly is a duplicate",
    ),
    "a key twice": ("name: touchstone\nname: touchstone\n", "'name' is a duplicate"),
    "not YAML": ("name: [", "is not valid YAML"),
}


def test_the_sound_file_is_read(load):
    first, *stages = load(SOUND).deployments
    assert first.name == "nightly"
    assert {spec.name for spec in stages} >= {
        "stage-rows-cpu",
        "stage-pretrain-gpu",
        "stage-judge-cpu",
        "stage-judge-gpu",
    }


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_wrong_is_named(load, broken):
    content, expected = BROKEN[broken]
    with pytest.raises(UsageError) as raised:
        load(content)
    assert expected in str(raised.value)


def test_pitfall_30_the_monitors_of_our_file_ask_anew():
    monitors = [
        s for s in load_deployments(OURS).deployments if s.name in ("weekly-audit", "rejudge-champion")
    ]
    assert [spec.parameters["config"]["anew"] for spec in monitors] == [True, True]


def test_our_file_has_the_pipeline_all_stages_and_schedules():
    file = load_deployments(OURS)
    names = {f"{spec.flow.name}/{spec.name}" for spec in file.deployments}
    assert {"touchstone/pipeline", "touchstone/nightly", "touchstone-reap/reap"} <= names
    for stage in STAGES:
        assert any(name.startswith(f"{stage}/") for name in names), stage
    schedules = {schedule.slug for spec in file.deployments for schedule in spec.schedules}
    assert schedules == {"nightly", "weekly-audit", "rejudge-champion"}
    for spec in file.deployments:
        assert spec.description or spec.flow.description


def test_training_and_generation_share_the_pool_of_one_at_a_time():
    file = load_deployments(OURS)
    pools = {f"{spec.flow.name}/{spec.name}": spec.work_pool.name for spec in file.deployments}
    for stage in ("pretrain", "finetune", "dpo", "classify"):
        assert pools[f"{stage}/stage-{stage}-gpu"] == "gpu-pool"
        assert f"{stage}/stage-{stage}-cpu" not in pools
    assert pools["generate/stage-generate-gpu"] == "gpu-pool"
    assert pools["generate/stage-generate-cpu"] == "cpu-pool"  # where a server responds
    workers = {pool.name: pool.worker_limit for pool in file.definitions.pools}
    assert workers == {"cpu-pool": 4, "gpu-pool": 1}
    limits = {pool.name: pool.concurrency_limit for pool in file.definitions.pools}
    assert limits == {"cpu-pool": None, "gpu-pool": 1}


@pytest.mark.parametrize(
    ("stage", "config", "expected"),
    [
        ("pretrain", PretrainConfig(), "pretrain/stage-pretrain-gpu"),
        ("generate", GenerateConfig(), "generate/stage-generate-gpu"),
        ("rows", RowsConfig(), None),
        ("judge", JudgeConfig(), None),
        ("judge", JudgeConfig(scorer="ollama:llama3.2"), None),
        ("judge", JudgeConfig(scorer=("ollama:llama3.2", "hf:tiny")), "judge/stage-judge-gpu"),
        ("audit", AuditConfig(scorer="hf:tiny"), "audit/stage-audit-gpu"),
        ("compare", CompareConfig(scorer="hf:tiny", mode="pairwise"), "compare/stage-compare-gpu"),
    ],
)
def test_stage_that_wants_a_gpu_has_a_deployment_in_our_file(stage, config, expected):
    assert deployment_of(STAGES[stage], config) == expected
    if expected:
        assert expected in {f"{spec.flow.name}/{spec.name}" for spec in load_deployments(OURS).deployments}
