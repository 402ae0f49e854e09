"""A server that is busy is asked again, soon and often enough."""

from uuid import uuid4

from prefect.client.schemas.objects import WorkPool
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.process.intervals import intervals
from flows.server.deploy import create_pools
from flows.server.deployment_file import load_deployments
from tests.http_server import FaultyServer, Reply

BUSY = Reply(status=503, headers={"Retry-After": "0"})
REFUSALS = 8  # more than the six questions of Prefect's client, which take a minute


def test_a_busy_server_is_asked_until_it_answers(monkeypatch):
    waited = []
    monkeypatch.setattr("flows.server.pools.time.sleep", waited.append)
    file = load_deployments()
    with FaultyServer().running() as server, temporary_settings({PREFECT_API_URL: f"{server.url}/api"}):
        for spec in file.definitions.pools:
            fields = spec.model_dump(include={"name", "type", "description", "concurrency_limit"})
            body = WorkPool(**fields, default_queue_id=uuid4()).model_dump_json().encode()
            server.on(f"/api/work_pools/{spec.name}", *[BUSY] * REFUSALS, Reply(body))
        create_pools(file)
    assert waited.count(intervals().poll) == REFUSALS * len(file.definitions.pools)
    asked = [request.path for request in server.requests]
    for spec in file.definitions.pools:
        assert asked.count(f"/api/work_pools/{spec.name}") == REFUSALS + 1
