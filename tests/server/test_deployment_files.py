"""The files for more machines: they hold against their schemas, fit the project, and have no secret in them.

Neither Docker nor Kubernetes runs here. Every check is shown to fail on a broken copy.
"""

import asyncio
import copy
import importlib.resources
import json
import os
import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from urllib.parse import urlsplit

import jsonschema
import kubernetes_validate
import pytest
import typer
import yaml
from prefect.utilities.templating import find_placeholders
from prefect.workers.base import BaseJobConfiguration

from flows.command.cli import app
from flows.server.access import HOSTS, SECRET_FILE
from tests.commands import CHECKOUT

DEPLOYMENTS = CHECKOUT / "deployments"
KUBERNETES = DEPLOYMENTS / "kubernetes"
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
DOCKERFILE = (DEPLOYMENTS / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())
COMPOSE_SCHEMA = json.loads(
    importlib.resources.files("check_jsonschema.builtin_schemas.vendor")
    .joinpath("compose-spec.json")
    .read_text()
)
TEMPLATES = {name: json.loads((KUBERNETES / f"{name}.json").read_text()) for name in ("cpu-pool", "gpu-pool")}
PREFECT = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text())
WORKER = list(yaml.safe_load_all((KUBERNETES / "worker.yaml").read_text()))
KUBERNETES_VERSIONS = ("1.27", "1.37")

GPU = "nvidia.com/gpu"
REMOVED = object()
SECRET_NAME = re.compile(r"TOKEN|KEY|PASSWORD|SECRET|CREDENTIAL", re.IGNORECASE)
SECRET_REFERENCE = re.compile(r"_SECRET_(NAME|KEY)$")  # which secret, and which of its keys
SECRET_VALUES = {
    "a token of the Hugging Face hub": r"\bhf_[A-Za-z0-9]{20,}",
    "an API key": r"\bsk-[A-Za-z0-9_-]{20,}",
    "a token of GitHub": r"\bgh[pousr]_[A-Za-z0-9]{20,}",
    "a key of AWS": r"\bAKIA[0-9A-Z]{16}\b",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a password in an address": r"://[^/\s:@\"']+:[^/\s@\"']+@",
}


def changed(document, path, value):
    """A copy in which the value at a path is another, new, or gone."""
    document = copy.deepcopy(document)
    place = document
    for key in path[:-1]:
        place = place[key]
    if value is REMOVED:
        del place[path[-1]]
    elif isinstance(place, list) and path[-1] == len(place):
        place.append(value)
    else:
        place[path[-1]] = value
    return document


def pinned(image):
    """Whether an image's name ends in a tag that says which, or in a digest."""
    tag = image.rpartition("/")[2].partition(":")[2]
    return "@sha256:" in image or (any(character.isdigit() for character in tag) and tag != "latest")


def by_default(text):
    """A text of a Compose file as it is when no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


# Compose


def compose_faults(compose):
    """What is wrong with a Compose file, each as one line."""
    validator = jsonschema.validators.validator_for(COMPOSE_SCHEMA)(COMPOSE_SCHEMA)
    faults = [f"schema: {error.json_path}: {error.message}" for error in validator.iter_errors(compose)]
    if faults:
        return faults
    services = compose["services"]
    for name, service in services.items():
        if not pinned(by_default(service.get("image", ""))):
            faults.append(f"{name}: the image is not pinned")
        faults += [f"{name}: {fault}" for fault in _start_faults(service, services)]
        faults += [f"{name}: {fault}" for fault in _exposure_faults(service, compose)]
        needs_gpu = "devices" in service.get("deploy", {}).get("resources", {}).get("reservations", {})
        if needs_gpu != (service.get("profiles") == ["gpu"]):
            faults.append(f"{name}: what needs a GPU is in the profile gpu, and nothing else")
    if "devices" not in services["gpu-worker"].get("deploy", {}).get("resources", {}).get("reservations", {}):
        faults.append("gpu-worker: no GPU")
    return faults


def _start_faults(service, services):
    for other, needed in service.get("depends_on", {}).items():
        if other not in services:
            yield f"depends on {other}, which is no service"
        elif needed["condition"] == "service_healthy" and "healthcheck" not in services[other]:
            yield f"waits for the health of {other}, which has no check"
        elif needed["condition"] == "service_completed_successfully" and services[other]["restart"] in (
            "always",
            "unless-stopped",
        ):
            yield f"waits for the end of {other}, which is started again for ever"
    check = service.get("healthcheck", {}).get("test", [])
    if "python" in check:
        try:
            compile(check[-1], "healthcheck", "exec")
        except SyntaxError:
            yield "the health check is not Python"
    if "restart" not in service:
        yield "nothing says whether it is started again"


def _exposure_faults(service, compose):
    for port in service.get("ports", []):
        if not by_default(port).startswith("127.0.0.1:"):
            yield f"the port {port} is open to other machines"
    for variable, value in service.get("environment", {}).items():
        if SECRET_NAME.search(variable) and not (
            re.fullmatch(rf"\$\{{{variable}:(-|\?[^}}]*)\}}", value) or value.startswith("/run/secrets/")
        ):
            yield f"{variable} is written down"
    for secret in service.get("secrets", []):
        if "environment" not in compose["secrets"].get(secret, {}):
            yield f"the secret {secret} does not come from the environment"
    command = " ".join(service.get("command", []))
    if re.search(r"\$\{?\w*(PASSWORD|TOKEN|KEY|SECRET)", command.replace("$$", ""), re.IGNORECASE):
        yield "a secret is on the command line"
    for volume in service.get("volumes", []):
        if not volume.startswith(".") and volume.partition(":")[0] not in compose["volumes"]:
            yield f"the volume {volume} is not declared"


def test_the_compose_file_is_sound():
    assert compose_faults(COMPOSE) == []


def test_the_compose_file_has_every_service():
    assert set(COMPOSE["services"]) == {
        *("postgres", "prefect-server", "mlflow", "ollama"),
        *("deploy", "cpu-worker", "gpu-worker"),
    }


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["services", "mlflow", "enviroment"], {}, "schema: $.services.mlflow"),
        (["services", "mlflow", "ports"], "5000", "schema: $.services.mlflow.ports"),
        (["services", "ollama", "image"], "ollama/ollama", "ollama: the image is not pinned"),
        (["services", "ollama", "image"], "ollama/ollama:latest", "ollama: the image is not pinned"),
        (["services", "ollama", "image"], "host:5000/ollama", "ollama: the image is not pinned"),
        (["services", "ollama", "healthcheck"], REMOVED, "cpu-worker: waits for the health of ollama"),
        (["services", "postgres"], REMOVED, "mlflow: depends on postgres, which is no service"),
        (["services", "deploy", "restart"], "always", "cpu-worker: waits for the end of deploy"),
        (
            ["services", "mlflow", "healthcheck", "test", 3],
            "import (",
            "mlflow: the health check is not Python",
        ),
        (["services", "ollama", "restart"], REMOVED, "ollama: nothing says whether it is started again"),
        (["services", "mlflow", "ports", 0], "5000:5000", "mlflow: the port 5000:5000 is open"),
        (["services", "mlflow", "ports", 0], "${BIND:-0.0.0.0}:5000:5000", "mlflow: the port ${BIND"),
        (
            ["services", "cpu-worker", "environment", "HF_TOKEN"],
            "abc",
            "cpu-worker: HF_TOKEN is written down",
        ),
        (
            ["services", "cpu-worker", "environment", "HF_TOKEN"],
            "${HF_TOKEN:-abc}",
            "cpu-worker: HF_TOKEN is",
        ),
        (["services", "postgres", "environment", "POSTGRES_PASSWORD"], "x", "postgres: POSTGRES_PASSWORD is"),
        (["secrets", "postgres_password"], {"file": "password.txt"}, "mlflow: the secret postgres_password"),
        (
            ["services", "mlflow", "command"],
            ["mlflow", "${PGPASSWORD}"],
            "mlflow: a secret is on the command",
        ),
        (["volumes", "work"], REMOVED, "cpu-worker: the volume work:/touchstone/mlruns is not declared"),
        (["services", "gpu-worker", "deploy"], REMOVED, "gpu-worker: no GPU"),
        (["services", "gpu-worker", "profiles"], REMOVED, "gpu-worker: what needs a GPU is in the profile"),
    ],
)
def test_a_broken_compose_file_is_found(path, value, told):
    assert any(fault.startswith(told) for fault in compose_faults(changed(COMPOSE, path, value)))


def test_prefect_and_mlflow_have_a_database_each():
    """Both keep their version in a table of the same name, and would read each other's."""
    created = re.findall(r"CREATE DATABASE (\w+);", (DEPLOYMENTS / "postgres" / "databases.sql").read_text())
    addresses = [
        COMPOSE["services"]["prefect-server"]["environment"]["PREFECT_API_DATABASE_CONNECTION_URL"],
        COMPOSE["services"]["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"],
    ]
    assert [address.rpartition("/")[2] for address in addresses] == created == ["prefect", "mlflow"]


@pytest.mark.parametrize(
    ("server", "variable", "public"),
    [("prefect-server", "PREFECT_API_URL", None), ("mlflow", "MLFLOW_TRACKING_URI", "lab.example")],
)
def test_servers_answer_to_names_that_workers_and_browsers_use(server, variable, public):
    """Both refuse requests for any other host, MLflow by a list of its own too."""
    environment = COMPOSE["services"][server]["environment"]
    called = urlsplit(by_default(COMPOSE["services"]["cpu-worker"]["environment"][variable]))
    told = {name: filled(environment[name], public) for name in environment if name.endswith("_HOSTS")}
    names = {called.netloc, "127.0.0.1:5000", f"{public or 'localhost'}:8080"}
    assert {urlsplit(f"//{name}").hostname for name in names} <= set(told.pop(HOSTS).split(","))
    for patterns in told.values():
        assert all(any(fnmatch(name, pattern) for pattern in patterns.split(",")) for name in names)


@pytest.mark.parametrize("service", ["prefect-server", "mlflow", "deploy", "cpu-worker", "gpu-worker"])
def test_servers_and_their_clients_are_told_the_secret_by_a_file(service):
    told = COMPOSE["services"][service]
    assert told["environment"][SECRET_FILE] == "/run/secrets/touchstone_secret"
    assert "touchstone_secret" in told["secrets"]


def filled(text, public):
    return re.sub(r"\$\{TOUCHSTONE_PUBLIC_HOST:-(\w+)\}", lambda found: public or found[1], text)


def test_the_example_names_every_variable_and_gives_no_secret():
    used = set(re.findall(r"\$\{(\w+)", (DEPLOYMENTS / "compose.yaml").read_text()))
    used |= {secret["environment"] for secret in COMPOSE["secrets"].values()}
    lines = (DEPLOYMENTS / ".env.example").read_text().splitlines()
    example = dict(
        re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", line)[0] for line in lines if re.match(r"(# )?[A-Z_]+=", line)
    )
    assert used - set(example) == set()
    assert {name: value for name, value in example.items() if SECRET_NAME.search(name) and value} == {}


def _docker_compose():
    docker = shutil.which("docker")
    found = docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0
    return docker if found else None


@pytest.mark.skipif(_docker_compose() is None, reason="Docker's compose plugin is not installed")
@pytest.mark.parametrize("profile", ["", "gpu"])
def test_docker_takes_the_compose_file(profile):
    done = subprocess.run(
        [_docker_compose(), "compose", "--file", DEPLOYMENTS / "compose.yaml", "config", "--quiet"],
        env=os.environ | {"POSTGRES_PASSWORD": "none", "COMPOSE_PROFILES": profile},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


# The image


def image_faults(dockerfile):
    """What is wrong with a Dockerfile, each as one line."""
    stages = re.split(r"^(?=FROM )", dockerfile, flags=re.MULTILINE)[1:]
    built = set()
    for stage in stages:
        base, name = re.match(r"FROM (\S+) AS (\S+)", stage).groups()
        if base not in built and not pinned(base):
            yield f"{name}: {base} is not pinned"
        users = re.findall(r"^USER (\S+)", stage, re.MULTILINE)
        if not users or users[-1] in ("0", "root"):
            yield f"{name}: runs as root"
        built.add(name)
    for name in re.findall(r"^(?:ARG|ENV) (\w+)", dockerfile, re.MULTILINE):
        if SECRET_NAME.search(name):
            yield f"{name} would stay in the image"


def test_the_image_is_sound():
    assert list(image_faults(DOCKERFILE)) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("python:3.11-slim-bookworm", "python", "touchstone: python is not pinned"),
        ("USER 1000", "USER root", "touchstone: runs as root"),
        ("ARG TORCH_INDEX_URL", "ARG HF_TOKEN", "HF_TOKEN would stay in the image"),
    ],
)
def test_a_broken_image_is_found(old, new, told):
    assert told in list(image_faults(DOCKERFILE.replace(old, new)))


def test_nothing_but_the_source_reaches_the_image():
    """An environment file or a run's data in the build context would end in a layer."""
    lines = (CHECKOUT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules == [
        *("*", "!pyproject.toml", "!constraints.txt", "!LICENSE", "!README.md"),
        *("!flows", "!tasks", "!deployments"),
        *("deployments/*", "!deployments/prefect.yaml", "!deployments/profiles"),
        *("!deployments/kubernetes", "deployments/kubernetes/*", "!deployments/kubernetes/constraints.txt"),
        "**/__pycache__",
    ]
    assert ".env" in (DEPLOYMENTS / ".gitignore").read_text().splitlines()


# Kubernetes


class KubernetesJob(BaseJobConfiguration):
    """What Prefect's Kubernetes worker makes of a template, as far as it is needed here."""

    job_manifest: dict


def job_of(template, **values):
    """The job that a template makes, filled in by Prefect."""
    filled = KubernetesJob.from_template_and_values(template, values, client=object())
    return asyncio.run(filled).job_manifest


def kubernetes_faults(document):
    for version in KUBERNETES_VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"


def pod_faults(pod):
    """What is wrong with the pod of a job or a worker, each as one line."""
    if not (pod["securityContext"].get("runAsNonRoot") and pod["securityContext"].get("runAsUser")):
        yield "runs as root"
    if pod.get("enableServiceLinks") is not False:
        yield "variables of services would be taken for settings"
    for container in pod["containers"]:
        locked = container.get("securityContext", {})
        if locked.get("allowPrivilegeEscalation") is not False or locked.get("capabilities") != {
            "drop": ["ALL"]
        }:
            yield f"{container['name']}: may gain privileges"
        if not pinned(container["image"]):
            yield f"{container['name']}: the image is not pinned"
        for variable in container["env"]:
            secret = SECRET_NAME.search(variable["name"]) and not SECRET_REFERENCE.search(variable["name"])
            if secret and "secretKeyRef" not in variable.get("valueFrom", {}):
                yield f"{variable['name']} is written down"


def template_faults(template, gpu):
    """What is wrong with a base job template, each as one line."""
    variables = template["variables"]["properties"]
    jsonschema.Draft202012Validator.check_schema(template["variables"])
    placeholders = {found.name for found in find_placeholders(template["job_configuration"])}
    faults = [f"{name} is no variable" for name in sorted(placeholders - set(variables))]
    faults += [f"{name} is not used" for name in sorted(set(variables) - placeholders)]
    for name, schema in variables.items():
        if not jsonschema.Draft202012Validator(schema).is_valid(schema["default"]):
            faults.append(f"{name}: the default is not allowed")
    job = job_of(template)
    faults += kubernetes_faults(job)
    if faults:
        return faults
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    faults += pod_faults(pod)
    for kind in ("requests", "limits"):
        if (container["resources"][kind].get(GPU, 0) > 0) != gpu:
            faults.append(f"{GPU} in {kind}")
    if gpu != (GPU in {toleration.get("key") for toleration in pod["tolerations"]}) or gpu != bool(
        pod["nodeSelector"]
    ):
        faults.append("the nodes are not those with a GPU")
    if job["spec"]["backoffLimit"] != 0:
        faults.append("Kubernetes would start a failed pod again, behind Prefect's back")
    if {mount["name"] for mount in container["volumeMounts"]} != {
        volume["name"] for volume in pod["volumes"]
    }:
        faults.append("mounts and volumes differ")
    return faults


MANIFEST = ["job_configuration", "job_manifest"]
POD = [*MANIFEST, "spec", "template", "spec"]
CONTAINER = [*POD, "containers", 0]
VARIABLES = ["variables", "properties"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_job_templates_are_sound(name):
    assert template_faults(TEMPLATES[name], name == "gpu-pool") == []


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ([*VARIABLES, "gpus"], REMOVED, "gpus is no variable"),
        ([*VARIABLES, "gpu"], {"type": "integer", "default": 1}, "gpu is not used"),
        ([*VARIABLES, "gpus", "default"], 0, "gpus: the default is not allowed"),
        ([*VARIABLES, "memory_limit", "default"], "32 GB", "memory_limit: the default is not allowed"),
        (
            [*VARIABLES, "work_volume", "default"],
            {"name": "data", "emptyDir": {}},
            "work_volume: the default",
        ),
        ([*MANIFEST, "spec", "retries"], 3, "Kubernetes 1.27: spec"),
        ([*POD, "restartPolicy"], 1, "Kubernetes 1.27: spec.template.spec.restartPolicy"),
        ([*CONTAINER, "gpu"], 1, "Kubernetes 1.37: spec.template.spec.containers.0"),
        ([*CONTAINER, "resources", "limits", GPU], 0, f"{GPU} in limits"),
        ([*CONTAINER, "resources", "requests", GPU], 0, f"{GPU} in requests"),
        ([*VARIABLES, "node_selector", "default"], {}, "the nodes are not those with a GPU"),
        ([*VARIABLES, "tolerations", "default"], [], "the nodes are not those with a GPU"),
        ([*VARIABLES, "backoff_limit", "default"], 6, "Kubernetes would start a failed pod again"),
        ([*VARIABLES, "image", "default"], "touchstone:latest", "prefect-job: the image is not pinned"),
        ([*CONTAINER, "env", 6], {"name": "WANDB_API_KEY", "value": "abc"}, "WANDB_API_KEY is written down"),
        ([*CONTAINER, "env", 4, "valueFrom"], REMOVED, "HF_TOKEN is written down"),
        ([*POD, "securityContext", "runAsNonRoot"], False, "runs as root"),
        ([*POD, "enableServiceLinks"], REMOVED, "variables of services would be taken for settings"),
        ([*CONTAINER, "securityContext"], {}, "prefect-job: may gain privileges"),
        ([*CONTAINER, "volumeMounts", 1], REMOVED, "mounts and volumes differ"),
    ],
)
def test_a_broken_job_template_is_found(path, value, told):
    faults = template_faults(changed(TEMPLATES["gpu-pool"], path, value), gpu=True)
    assert any(fault.startswith(told) for fault in faults), faults


def test_what_a_deployment_sets_reaches_the_job():
    claim = {"name": "work", "persistentVolumeClaim": {"claimName": "touchstone-work"}}
    job = job_of(TEMPLATES["gpu-pool"], gpus=4, work_volume=claim, cpu_limit="8", secret_name="ours")
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert list(kubernetes_faults(job)) == []
    assert container["resources"]["limits"] == {"cpu": "8", "memory": "32Gi", GPU: 4}
    assert pod["volumes"][0] == claim
    references = [found["valueFrom"]["secretKeyRef"] for found in container["env"] if "valueFrom" in found]
    assert {reference["name"] for reference in references} == {"ours"}


def test_both_pools_read_the_same_secrets():
    """A judge that is a model of its own process runs on gpu-pool, maybe beside one that wants a key."""
    environments = [
        template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"][0]["env"]
        for template in TEMPLATES.values()
    ]
    assert environments[0] == environments[1]
    assert {found["name"] for found in environments[0] if "valueFrom" in found} == {
        *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
        *("HF_TOKEN", "OPENAI_API_KEY"),
    }


def test_the_worker_is_sound():
    assert [fault for document in WORKER for fault in kubernetes_faults(document)] == []
    pod = WORKER[-1]["spec"]["template"]["spec"]
    assert list(pod_faults(pod)) == []
    for container in pod["containers"]:
        assert container["args"][container["args"].index("--pool") + 1] == container["name"]
        ports = {
            found["value"] for found in container["env"] if found["name"] == "PREFECT_WORKER_WEBSERVER_PORT"
        }
        assert ports == {str(container["livenessProbe"]["httpGet"]["port"])}
    assert {container["name"] for container in pod["containers"]} == set(TEMPLATES)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["spec", "replica"], 2, "Kubernetes 1.27: spec"),
        (
            ["spec", "template", "spec", "containers", 0, "env", 8],
            {"name": "HF_TOKEN", "value": "x"},
            "HF_TOKEN is",
        ),
        (
            ["spec", "template", "spec", "containers", 1, "image"],
            "worker",
            "gpu-pool: the image is not pinned",
        ),
    ],
)
def test_a_broken_worker_is_found(path, value, told):
    deployment = changed(WORKER[-1], path, value)
    faults = [*kubernetes_faults(deployment), *pod_faults(deployment["spec"]["template"]["spec"])]
    assert any(fault.startswith(told) for fault in faults)


# What belongs together


def test_every_file_means_the_same_pools():
    pools = {pool["name"] for pool in PREFECT["definitions"]["pools"]}
    commands = [service["command"] for service in COMPOSE["services"].values() if "command" in service]
    workers = [command[2] for command in commands if command[:2] == ["touchstone", "worker"]]
    assert sorted(workers) == sorted(pools) == sorted(TEMPLATES)


def test_the_containers_run_commands_that_there_are():
    there = typer.main.get_command(app).commands
    for service in COMPOSE["services"].values():
        program, name, *arguments = service.get("command", ["", ""])
        if program == "touchstone":
            there[name].make_context(name, list(arguments))  # raises for an argument that it does not take


def test_every_file_means_the_same_image_user_and_folder():
    images = {
        by_default(COMPOSE["services"][name]["image"]) for name in ("mlflow", "cpu-worker", "gpu-worker")
    }
    images |= {template["variables"]["properties"]["image"]["default"] for template in TEMPLATES.values()}
    assert images == {f"touchstone:{PROJECT['project']['version']}"}
    home = re.search(r"TOUCHSTONE_HOME=(\S+)", DOCKERFILE).group(1)
    user = int(re.search(r"useradd --uid (\d+)", DOCKERFILE).group(1))
    assert COMPOSE["services"]["cpu-worker"]["volumes"] == [f"work:{home}/mlruns"]
    for template in TEMPLATES.values():
        pod = job_of(template)["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == user
        assert pod["containers"][0]["volumeMounts"][0] == {"name": "work", "mountPath": f"{home}/mlruns"}


def secrets_in(text):
    return [what for what, pattern in SECRET_VALUES.items() if re.search(pattern, text)]


def test_no_file_holds_a_secret():
    kept_out = {".env", "__pycache__"}
    files = [path for path in DEPLOYMENTS.rglob("*") if path.is_file() and kept_out.isdisjoint(path.parts)]
    found = {str(path.relative_to(CHECKOUT)): secrets_in(path.read_text()) for path in files}
    assert {name: what for name, what in found.items() if what} == {}
    assert len(found) > 10


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("HF_TOKEN: hf_" + 34 * "a", "a token of the Hugging Face hub"),
        ("key = sk-" + 40 * "a", "an API key"),
        ("ghp_" + 36 * "a", "a token of GitHub"),
        ("AKIA" + 16 * "A", "a key of AWS"),
        ("-----BEGIN RSA " + "PRIVATE KEY-----", "a private key"),
        ("postgresql://touchstone:" + "word@postgres:5432/mlflow", "a password in an address"),
    ],
)
def test_a_secret_in_a_file_is_found(text, told):
    assert secrets_in(text) == [told]
