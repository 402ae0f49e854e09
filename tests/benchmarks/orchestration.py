"""What orchestration costs: stages bare, recorded, as subflows, on a work pool, found again; as all grows.

    python -m tests.benchmarks.orchestration [--stages 4 16] [--past 0 1000] [--rounds 3] [--pool]

Every stage makes one row of data, so that what is measured is what is around the work. `bare` calls the
stage's function, `recorded` adds its MLflow run, key, lock and manifest, `embedded` is a pipeline of subflows
with a Prefect server on this machine, `cached` the same pipeline again. `--past` puts as many finished runs
into both databases first. With --pool, stages are also sent to a worker of `touchstone up`. It asserts
nothing; the last table is in docs/benchmarks.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from flows.server.access import credentials, new_secret
from flows.server.servers import Place, answers, free_port, prefect_server
from tests.orchestration.sites import furnish, started_up, stop

ROW = "row: "  # what a row of the table begins with, in the output of the process that measures


def row_of(seed: int) -> Any:
    from tasks.config import DownloadConfig

    return DownloadConfig.model_validate({"sources": [{"made": "skills", "count": 1, "seed": seed}]})


def bare(seeds: Iterable[int]) -> None:
    """The stage's function, and nothing around it."""
    from tasks.download.stage import download
    from tasks.record.stage import StageRun

    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            download(row_of(seed), StageRun(place / "output", place / "auxiliary", place / "checkpoint"))


def recorded(seeds: Iterable[int]) -> None:
    from flows.stages import STAGES
    from tasks.record.stage import execute
    from tasks.record.tracking import open_tracking
    from tasks.record.work import Work

    tracking = open_tracking()
    for seed in seeds:
        execute(tracking, Work(STAGES["download"], row_of(seed)))


def piped(seeds: Iterable[int]) -> None:
    """A pipeline: each stage is looked for, and is a subflow when it is not found."""
    from prefect import flow

    from flows.dispatch.pipeline_run import pipeline_run, without_heartbeat

    @flow(name="benchmark", persist_result=False)
    def chain_of_stages(seeds: list[int]) -> None:
        with pipeline_run("benchmark", {}, ()) as run:
            for seed in seeds:
                run.stage("download", row_of(seed), f"stage {seed}")

    with without_heartbeat():  # as `touchstone run`
        chain_of_stages(list(seeds))


def on_pool(seeds: Iterable[int]) -> None:
    """The same, each stage on the work pool."""
    from prefect import flow

    from flows.dispatch.pipeline_run import pipeline_run
    from flows.process.console import console
    from flows.server.pools import Pools, run_on_pool

    @flow(name="benchmark on a pool", persist_result=False)
    def chain_on_pool(seeds: list[int]) -> None:
        with pipeline_run("benchmark", {}, (), pools=Pools()) as run:
            for seed in seeds:
                label = f"stage {seed}"
                run_on_pool(
                    "download/stage-download-cpu",
                    row_of(seed),
                    {},
                    label,
                    run.run_id,
                    run.name,
                    False,
                    Pools(),
                    console.say,
                )

    chain_on_pool(list(seeds))


def fill(past: int) -> None:
    """As many finished runs in MLflow and in Prefect as so many stages leave."""
    import httpx

    from tasks.record.tracking import open_tracking
    from tasks.record.work import Stage

    tracking, stage = open_tracking(), Stage("download", 1, "")
    login = tuple(os.environ["PREFECT_API_AUTH_STRING"].split(":"))
    with httpx.Client(base_url=os.environ["PREFECT_API_URL"], auth=login, timeout=60) as prefect:
        flow = prefect.post("/flows/", json={"name": "past"}).json()["id"]
        for index in range(past):
            tags = {"touchstone.stage": stage.name, "touchstone.key": f"{index:064}"}
            run = tracking.client.create_run(tracking.experiment_id, tags=tags)
            tracking.client.set_terminated(run.info.run_id)
            state = {"type": "COMPLETED", "name": "Completed"}
            while prefect.post("/flow_runs/", json={"flow_id": flow, "state": state}).is_server_error:
                time.sleep(0.5)  # SQLite was busy


def timed(work: Callable[[Iterable[int]], None], seeds: range) -> float:
    started = time.perf_counter()
    work(seeds)
    return time.perf_counter() - started


def measure(counts: list[int], past: list[int], rounds: int, pool: bool) -> Iterator[dict[str, Any]]:
    """In a process whose environment names the servers: a row of medians for each count and past."""
    seeds, filled = range(1), 0
    piped(seeds)  # what is imported and opened once
    ways = {"bare": bare, "recorded": recorded, "embedded": piped, "cached": piped}
    if pool:
        ways = {"embedded": piped, "on a pool": on_pool, "cached": piped}
    for earlier in past:
        fill(earlier - filled)
        filled = earlier
        for count in counts:
            found: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, work in ways.items():
                    if way != "cached":  # which is asked for what `embedded`, or the pool, has made
                        seeds = range(seeds.stop, seeds.stop + count)
                    found[way].append(timed(work, seeds))
            yield {"stages": count, "past": earlier} | {
                way: round(statistics.median(seconds), 3) for way, seconds in found.items()
            }


def show(row: dict[str, Any], first: bool) -> None:
    ways = [name for name in row if name not in ("stages", "past")]
    if first:
        print(f"| stages | past runs | {' | '.join(f'{way}, s' for way in ways)} | a cached stage, ms |")
        print(f"|{'---|' * (len(ways) + 3)}")
    cells = " | ".join(f"{row[way]:.2f}" for way in ways)
    cached = 1000 * row["cached"] / row["stages"]
    print(f"| {row['stages']} | {row['past']} | {cells} | {cached:.0f} |", flush=True)


def in_a_process(options: argparse.Namespace, environment: dict[str, str], pool: bool) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.orchestration", "--measure", "--rounds"]
    command += [str(options.rounds), "--stages", *map(str, options.stages), "--past", *map(str, options.past)]
    command += ["--pool"] if pool else []
    first = True
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith(ROW):  # and not what a stage says
                show(json.loads(line.removeprefix(ROW)), first)
                first = False
    if process.returncode:
        sys.exit(f"the process that measures ended with {process.returncode}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--past", type=int, nargs="+", default=[0, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pool", action="store_true")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        for row in measure(options.stages, options.past, options.rounds, options.pool):
            print(ROW + json.dumps(row), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.pool:
            site = started_up(Path(folder))
            try:
                site("deploy")
                servers = {"PREFECT_API_URL": f"{site.prefect}/api", "MLFLOW_TRACKING_URI": site.mlflow}
                in_a_process(options, site.environment | servers, pool=True)
            finally:
                stop(site.processes[0])
            return
        environment, place, secret = furnish(Path(folder)), Place(prefect_port=free_port()), new_secret()
        server = prefect_server(place, Path(folder) / "log", secret, environment, brief=True)
        server.start()
        try:
            server.wait_until(lambda: answers(f"{place.prefect}/api/health"))
            named = {"PREFECT_API_URL": f"{place.prefect}/api"} | credentials(secret)
            in_a_process(options, environment | named, pool=False)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
