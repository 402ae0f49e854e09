"""What CONTRIBUTING.md promises whoever adds a stage, a kind of judge or an export: how little to touch."""

import pytest

from flows import stages as declared
from flows.dispatch.pipeline_run import pipeline_run
from flows.dispatch.stage_flows import flow_of
from flows.profiles.profile import Profile
from flows.server.pools import deployment_of
from flows.server.readiness import stages_to_refresh
from tasks.config import FORMATS, ExportConfig, ExportFormat, JudgeConfig, StageConfig
from tasks.config.judge_kinds import KINDS, JudgeKind
from tasks.errors import UsageError
from tasks.export.deliver import deliver
from tasks.export.source import Check, Written
from tasks.export.stage import export
from tasks.judge.ask.identities import digests_of
from tasks.judge.backends import connect
from tasks.judge.protocol.replies import Identity
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.work import Stage
from tasks.report.exports import ExportSummary
from tests.export_models import model_in

# A stage


class ShoutConfig(StageConfig):
    """What the stage of this file is told."""

    text: str = "hello"


def shout(config, run):
    """The stage: called as every other."""
    (run.out / "shout.txt").write_text(config.text.upper())


def content(config):
    return {"letters": str(len(config.text))}


SHOUT = Stage(
    "shout",
    1,
    f"{__name__}:shout",
    ShoutConfig,
    "The text, louder",
    runs_in=lambda profile: profile.instructions,
    pool="gpu",
    fingerprints=f"{__name__}:content",
)


@pytest.fixture
def _shouting(monkeypatch):
    monkeypatch.setitem(declared.STAGES, "shout", SHOUT)


@pytest.mark.usefixtures("_shouting")
def test_a_declared_stage_is_run_recorded_and_found_again(make_workplace):
    config = ShoutConfig(text="a stage of a test")
    with make_workplace("shouting").entered():
        with pipeline_run("shouting", {}, []) as run:
            made = run.stage("shout", config)
            louder = run.stage("shout", config.model_copy(update={"text": "another"}))
            assert (fetch(run.tracking, made) / OUTPUT / "shout.txt").read_text() == "A STAGE OF A TEST"
        with pipeline_run("shouting again", {}, []) as later:
            assert later.stage("shout", config) == made
    assert louder.key != made.key
    assert [outcome.cached for outcome in (*run.outcomes, *later.outcomes)] == [False, False, True]


@pytest.mark.usefixtures("_shouting")
def test_declared_stage_has_its_form_pool_deployment_and_place():
    assert flow_of("shout").description == "The text, louder"
    assert "config" in flow_of("shout").parameters.properties
    assert deployment_of(SHOUT, ShoutConfig()) == "shout/stage-shout-gpu"
    pools = {"cpu": {"name": "cpu-pool"}, "gpu": {"name": "gpu-pool"}}
    content = {"definitions": {"stage_pools": pools}, "deployments": []}
    ours = {spec["name"]: spec for spec in declared.with_stage_deployments(content)["deployments"]}
    assert ours["stage-shout-gpu"]["work_pool"] == {"name": "gpu-pool"}
    assert "stage-shout-cpu" not in ours
    rows = {"sources": [{"made": "skills", "count": 60}]}
    assert "shout" in Profile(name="loud", instructions=rows).stages()
    assert "shout" not in Profile(name="quiet", corpus={"sources": [{"made": "skills"}]}).stages()
    assert stages_to_refresh(["shout"], Profile(name="loud", instructions=rows).stages()) == ["shout"]


# A kind of judge


class Echo:
    """A judge that needs no server, as far as finding it goes."""

    refusals = promised = context = None
    first_in_flight = most_in_flight = 1

    def __init__(self, config, model, form):
        self.model = model

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def identify(self):
        return Identity(f"echo:{self.model}", "0" * 64, "1")


@pytest.fixture
def _echoing(monkeypatch):
    monkeypatch.setitem(KINDS, "echo", JudgeKind("echo", f"{__name__}:Echo", in_process=True))


@pytest.mark.usefixtures("_echoing")
def test_declared_judge_kind_is_known_connected_and_on_its_pool():
    config = JudgeConfig(scorer="echo:loud")
    assert config.judges == ("echo:loud",)
    assert isinstance(connect(config, "echo:loud", None), Echo)
    assert digests_of(config)["echo:loud"] == "0" * 64
    assert deployment_of(declared.STAGES["judge"], config) == "judge/stage-judge-gpu"


def test_undeclared_judge_kind_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"'echo:loud' is no scorer; expected ollama:MODEL, openai"):
        JudgeConfig(scorer="echo:loud")
    with pytest.raises(UsageError):
        stages_to_refresh(["shout"], ["rows"])


# A format of exports


def write_names(source):
    """The format: a list of the model's weights."""
    names = sorted(source.load().state_dict())
    (source.files / "weights.txt").write_text("\n".join(names))
    return Written(checks=[Check("Counted", f"{len(names)} weights")])


def send(config, output):
    return f"sent {config.name} with {len(list((output / 'files').iterdir()))} files"


@pytest.fixture
def _naming(monkeypatch):
    own = ExportFormat(f"{__name__}:write_names", "a list of weights", delivers=f"{__name__}:send")
    monkeypatch.setitem(FORMATS, "names", own)


@pytest.mark.usefixtures("_naming")
def test_a_declared_format_is_written_carded_and_delivered(tmp_path, stage_run):
    config = ExportConfig(to="names", name="story", device="cpu")
    run = stage_run()
    export(config, run, **model_in(tmp_path / "tuned").folders)
    summary = ExportSummary.read(run.out)
    assert (list(summary.files), summary.checks[0]["name"]) == (["weights.txt"], "Counted")
    assert "## Exported as names" in (run.out / "files" / "README.md").read_text()
    assert list(deliver(config, run.out)) == ["sent story with 2 files"]


def test_undeclared_format_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="'names' is no format; expected folder, gguf, ollama or adapter"):
        ExportConfig(to="names")
