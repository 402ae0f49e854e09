"""A server whose model writes rows, and attempts at the synthesize stage."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from tasks.config import SynthesizeConfig
from tasks.rows.synthetic import MADE, ROWS
from tasks.synthesize.identities import fingerprints
from tasks.synthesize.outputs import SET_ASIDE, Synthesis
from tasks.synthesize.stage import synthesize
from tests.chat_server import Json, Request
from tests.openai_server import OpenAIServer
from tests.runs import stage_run_in

WRITER = f"openai:{OpenAIServer.models[0]}"
SHIPS = ["Amber", "Beryl", "Coral", "Dahlia", "Ember", "Fern", "Garnet", "Heather", "Iris", "Jasper"]
PORTS = ["Lisbon", "Bergen", "Genoa", "Riga", "Cork", "Malaga", "Gdansk", "Antwerp", "Bari", "Porto"]


def passage(number: int) -> str:
    """One of ten paragraphs about ten ships."""
    ship, port = SHIPS[number], PORTS[number]
    return (
        f"The ship {ship} left the harbour of {port} in the spring with {number + 11} sailors. Her captain "
        "had bought copper and barrels of salt for the merchants of the north, and he hoped to return to "
        f"{port} before the first storms of autumn."
    )


CORPUS = "\n\n".join(map(passage, range(10)))


def number_in(request: Request) -> int:
    """Of the ship that a request is about."""
    return next(number for number, ship in enumerate(SHIPS) if ship in request.text)


def good(number: int) -> str:
    return json.dumps(
        {
            "question": f"From which harbour did the ship {SHIPS[number]} sail?",
            "response": f"She left {PORTS[number]} with {number + 11} sailors.",
        }
    )


@dataclass
class WriterServer(OpenAIServer):
    """A model that says what `write` makes of a request, and `judge` what it says when it is a judge."""

    write: Callable[[Request, Json], str] = field(default=lambda request, _: good(number_in(request)))

    def words(self, request, fault, limit, structured, seed):
        name = request.body.get("response_format", {}).get("json_schema", {}).get("name")
        if fault or name == "anchored":
            return super().words(request, fault, limit, structured, seed)
        return self.write(request, request.body), "stop"


class Trial:
    """Attempts at one synthesis, in one folder."""

    def __init__(self, folder, server, text=CORPUS, given=None, **config):
        self.folder, self.attempts = folder, 0
        size = {} if text is None else {"passage_words": 40}
        self.config = SynthesizeConfig(by=WRITER, base_url=server.url, attempts=1, **size, **config)
        self.inputs = {}
        if text is not None:
            (folder / "corpus").mkdir()
            (folder / "corpus" / "ships.txt").write_text(text, encoding="utf-8")
            self.inputs["corpus"] = folder / "corpus"
        if given is not None:
            (folder / "given").mkdir()
            lines = [
                {"id": place, "input": "", "prompt": "", "response": ""} | row
                for place, row in enumerate(given)
            ]
            (folder / "given" / "responses.jsonl").write_text(
                "".join(json.dumps(line) + "\n" for line in lines)
            )
            self.inputs["given"] = folder / "given"
        self.said = []

    def __call__(self, **audits):
        """Make the rows; returns those that are kept, those that are not, and the summary."""
        self.attempts += 1
        run = stage_run_in(
            self.folder / str(self.attempts),
            shared=self.folder / "shared",
            fingerprints=fingerprints(self.config),
            say=self.said.append,
        )
        self.run = run
        synthesize(self.config, run, **self.inputs, **audits)
        kept, aside = (
            [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            for path in (run.out / MADE / ROWS, run.out / SET_ASIDE)
        )
        return kept, aside, Synthesis.read(run.out)
