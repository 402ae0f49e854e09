"""A worker starts the flows of this project, whatever a server tells it."""

import uuid

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.workers.process import ProcessJobConfiguration

from flows.server.servers import ENGINE, job_variables
from flows.server.worker_app import declared, foreign_in

SHELL = {"prefect.deployments.steps.run_shell_script": {"script": "touch was-here"}}


def asked(deployment=None, run=None, configuration=None):
    """What is foreign in a run of the reaping that is altered so."""
    given = {
        "id": uuid.uuid4(),
        "name": "reap",
        "flow_id": uuid.uuid4(),
        "entrypoint": "flows.server.reaper.reaping",
        "job_variables": job_variables({}),
    }
    made = DeploymentResponse(**given | (deployment or {}))
    flow_run = FlowRun(flow_id=made.flow_id, deployment_id=made.id, **run or {})
    settings = {"command": ENGINE, "env": dict(made.job_variables.get("env", {}))} | (configuration or {})
    prepared = ProcessJobConfiguration(**settings)
    prepared.prepare_for_flow_run(flow_run, made)
    return foreign_in(made, flow_run, prepared, declared())


def test_what_the_file_says_is_started():
    assert asked() is None


def test_every_deployment_of_the_file_is_ours():
    for (name, entrypoint), variables in declared().items():
        assert asked({"name": name, "entrypoint": entrypoint, "job_variables": variables}) is None


@pytest.mark.parametrize(
    ("altered", "told"),
    [
        ({"deployment": {"name": "evil"}}, "there is no deployment evil"),
        ({"deployment": {"entrypoint": "evil.py:evil"}}, "no deployment reap of evil.py:evil"),
        ({"deployment": {"entrypoint": "flows.pipeline.pipeline"}}, "no deployment reap of flows.pipeline"),
        ({"deployment": {"entrypoint": None}}, "no deployment reap of None"),
        ({"deployment": {"pull_steps": [SHELL]}}, "steps that fetch code"),
        ({"deployment": {"path": "/tmp"}}, "takes code from /tmp"),
        ({"deployment": {"job_variables": {"command": "sh"}}}, "other job variables"),
        (
            {"deployment": {"job_variables": job_variables({"env": {"PYTHONPATH": "/tmp"}})}},
            "other job variables",
        ),
        ({"run": {"job_variables": {"env": {"LD_PRELOAD": "/tmp/evil.so"}}}}, "other job variables"),
        ({"configuration": {"command": "touch was-here"}}, "another command"),
        ({"configuration": {"command": None}}, "another command"),
        ({"configuration": {"working_dir": "/tmp"}}, "another command or folder"),
        ({"configuration": {"env": {"PYTHONPATH": "/tmp"}}}, "other variables"),
        ({"configuration": {"env": {"PREFECT__FLOW_ENTRYPOINT": "subprocess.getoutput"}}}, "other variables"),
        ({"configuration": {"env": {"PREFECT_API_URL": "http://evil.example/api"}}}, "other variables"),
    ],
)
def test_anything_else_is_not(altered, told):
    assert told in asked(**altered)
