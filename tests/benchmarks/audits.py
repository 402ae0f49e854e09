"""The audits of judges of known character, and of real models, on the same rows.

    python -m tests.benchmarks.audits instruction-data.json [--sample 30] [--pairwise] [--every-gate]
        [--judge hf:FOLDER] [--gguf MODEL.gguf] [--threads 2] [--kept FOLDER]

Two judges are programs behind the tests' Ollama server: one is honest as far as words tell, the other counts
words in common. Beside them stands any local model (`--judge`), and any that llama.cpp runs (`--gguf`: its
server is `pip install --no-deps xllamacpp`). Each is asked about controls made from the same rows. It asserts
nothing; the last table is in docs/simulations.md.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tasks.judge.audit.wording import interval, number
from tests import judges
from tests.judge.audit.auditing import Audited
from tests.ollama_server import OllamaServer

DOUBLES = ("honest", "words_in_common")
SIGNS = {"pass": "", "warn": " (warns)", "fail": " **fails**", "not measured": " (not measured)"}
PARALLEL = 2  # answers that llama.cpp works on at once
CONTEXT = 4096  # tokens, for each of them

Json = dict[str, Any]

PASSED: Json = {"verdict": "pass"}  # a gate that some judges do not have


@dataclass(frozen=True)
class Result:
    name: str
    report: Json
    seconds: float


@contextmanager
def llama_cpp(path: Path, threads: int) -> Iterator[SimpleNamespace]:
    """llama.cpp's server for a model, on loopback; its `url` is that of OpenAI's protocol."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path, settings.model_alias = str(path), {path.stem}
    settings.port, settings.verbosity = 0, 1
    settings.n_parallel, settings.n_ctx = PARALLEL, PARALLEL * CONTEXT
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(settings)
    yield SimpleNamespace(url=f"{server.listening_address}/v1")
    del server  # which ends it


def audited(name: str, server: Any, rows: Sequence[Json], kept: Path | None, **config: Any) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        done = Audited(Path(folder), rows, kept or Path(folder) / "kept", server, timeout=600.0, **config)()
        return Result(name, done.report, time.monotonic() - started)


def results(options: argparse.Namespace, rows: Sequence[Json]) -> Iterator[Result]:
    how: Json = {"sample": options.sample, "mode": "pairwise" if options.pairwise else "scores"}
    how["kept"] = options.kept
    for name in DOUBLES:
        digest = sha256(name.encode()).hexdigest()
        with OllamaServer(judge=getattr(judges, name), slots=4, digest=digest) as server:
            yield audited(name.replace("_", " "), server, rows, **how)
    for scorer in options.judge:
        nowhere = SimpleNamespace(address="127.0.0.1:1")
        yield audited(Path(scorer.partition(":")[2]).name, nowhere, rows, scorer=scorer, device="cpu", **how)
    for path in options.gguf:
        with llama_cpp(path, options.threads) as server:
            scorer = f"openai:{path.stem}"
            yield audited(f"{path.stem}, llama.cpp", server, rows, scorer=scorer, concurrency=PARALLEL, **how)


def line(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def told(gate: Json | None) -> str:
    """`41.4% (25.5% to 59.3%) **fails**`."""
    if gate is None:
        return ""
    value, between = number(gate["value"], gate["unit"]), interval(gate)
    return value + (f" ({between})" if between else "") + SIGNS[gate["verdict"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rows", type=Path, help="a JSON list of objects with instruction, input and output")
    parser.add_argument("--sample", type=int, default=30, help="rows that each judge is audited on")
    parser.add_argument("--pairwise", action="store_true", help="audit choices between two, not scores")
    parser.add_argument("--every-gate", action="store_true", help="also those that every judge passed")
    parser.add_argument("--judge", action="append", default=[], help="hf:FOLDER; may be repeated")
    parser.add_argument("--gguf", type=Path, action="append", default=[], help="a model for llama.cpp")
    parser.add_argument("--kept", type=Path, help="folder of answers, with which a run that was cut goes on")
    parser.add_argument("--threads", type=int, default=2, help="of llama.cpp")
    options = parser.parse_args()
    rows = [{"id": place} | row for place, row in enumerate(json.loads(options.rows.read_text()))]
    found = list(results(options, rows))
    gates = [{gate["name"]: gate for gate in result.report["gates"]} for result in found]
    names = list(dict.fromkeys(name for own in gates for name in own))
    print(line("gate", [result.name for result in found]))
    print("|---" * (len(found) + 1) + "|")
    print(line("**verdict**", [f"**{result.report['verdict']}**" for result in found]))
    print(line("rows, answers", [f"{one.report['rows']}, {one.report['answers']}" for one in found]))
    print(line("seconds", [f"{result.seconds:.0f}" for result in found]))
    passed = [name for name in names if all(own.get(name, PASSED)["verdict"] == "pass" for own in gates)]
    for name in names if options.every_gate else [name for name in names if name not in passed]:
        print(line(name, [told(own.get(name)) for own in gates]))
    if not options.every_gate:
        print(line(f"{len(passed)} more gates", ["pass" for _ in found]))
    for result in found:
        for why in result.report["missing_because"][:3]:
            print(f"\n{result.name}: {why['count']} answers are missing because {why['reason']}")


if __name__ == "__main__":
    main()
