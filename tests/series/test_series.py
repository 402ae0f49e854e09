"""A ladder of sizes: how long each is trained, what their losses show, and how that is told."""

import json
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from flows.series.ladder import Ladder
from tasks.config import PretrainConfig, SeriesConfig, SeriesRung
from tasks.errors import UsageError
from tasks.models.gpt import GPT
from tasks.series.document import document
from tasks.series.ladder import parameters_of, rung_of
from tasks.series.stage import series
from tasks.show.html import as_html
from tasks.show.markdown import as_markdown
from tasks.show.terminal import show
from tasks.sweep.outputs import RowValues
from tests.runs import stage_run_in

SIZES = (100_000, 300_000, 1_000_000, 4_000_000)


def rung(parameters, loss, **more):
    told = {"size": f"{parameters}", "steps": 10, "tokens": 20 * parameters, "seconds": 3.0}
    return SeriesRung(parameters=parameters, loss=loss, **told | more)


def rungs(last=0.0):
    losses = [1.0 + 1e5**0.4 * size**-0.4 for size in SIZES]
    losses[-1] += last
    return tuple(rung(size, loss) for size, loss in zip(SIZES, losses, strict=True))


@pytest.fixture
def made(tmp_path):
    """What the stage makes of rungs, each of which has 200 documents as hard for all."""

    def make(given, measured=True):
        hard = np.random.default_rng(0).normal(0.0, 0.2, 200)
        random, folders = np.random.default_rng(1), {}
        for place, one in enumerate(given):
            if measured and one.loss is not None:
                folders[f"rung_{place}"] = tmp_path / f"rung_{place}"
                folders[f"rung_{place}"].mkdir()
                own = one.loss + hard - hard.mean() + random.normal(0, 0.01, 200)
                values = {"sums": own.tolist(), "counts": [1.0] * 200}
                RowValues(unit="documents", validation=values).write(folders[f"rung_{place}"])
        run = stage_run_in(tmp_path / "run")
        series(SeriesConfig(profile="text", tokens_per_parameter=20.0, rungs=given), run, **folders)
        return json.loads((run.out / "series.json").read_text())

    return make


def terminal(report):
    out = StringIO()
    show(document(report), Console(file=out, width=160, highlight=False))
    return " ".join(out.getvalue().split())


def test_parameters_are_those_of_the_model_that_is_made():
    config = PretrainConfig(size="2x2x32", context=64)
    model = GPT.from_settings(config, 300, 0)
    assert parameters_of(config, 300) == sum(one.numel() for one in model.parameters())


def test_steps_are_nearest_to_the_budget():
    config = PretrainConfig(size="2x2x32", context=64, batch_size=4, accumulation=2)
    parameters = parameters_of(config, 300)
    by_tokens = rung_of(config, 300, 20.0, None)
    assert by_tokens.steps == round(20 * parameters / 512)
    assert by_tokens.tokens == by_tokens.steps * 512
    by_flops = rung_of(config, 300, None, 6.0 * parameters * 51_200)
    assert by_flops.steps == 100
    assert by_flops.flops == 6 * parameters * 51_200
    assert rung_of(config, 300, None, 1.0).steps == 1


def test_largest_is_foretold_by_the_others(made):
    found = made(rungs())
    assert found["fit"]["alpha"] == pytest.approx(0.4, abs=0.02)
    held = found["held_out"]
    assert held["predicted"] == pytest.approx(held["measured"], abs=0.01)
    assert held["gap_95"][0] <= 0 <= held["gap_95"][1]
    told = terminal(found)
    assert "The fit holds for it." in told
    assert "Each" in told or "each size was trained once" in told


def test_largest_that_the_law_does_not_foretell_is_told(made):
    found = made(rungs(last=0.2))
    assert found["held_out"]["gap"] == pytest.approx(0.2, abs=0.01)
    low, high = found["held_out"]["gap_95"]
    assert 0 < low < 0.2 < high
    told = terminal(found)
    assert "The fit does not hold for it: do not extend it further." in told


def test_sizes_that_do_not_say_what_the_law_is_have_no_fit(made):
    flat = tuple(rung(size, 2.0) for size in SIZES)
    found = made(flat)
    assert found["fit"] is found["held_out"] is None
    assert "There is no fit" in terminal(found)


@pytest.mark.parametrize(
    ("count", "told"), [(3, "holding the largest out needs 4 sizes"), (2, "needs 3 sizes")]
)
def test_few_sizes_say_what_they_lack(made, count, told):
    assert told in terminal(made(rungs()[:count]))


def test_size_that_failed_is_in_no_fit(made):
    failed = rung(2_000_000, None, state="failed", reason="the loss became nan")
    found = made((*rungs()[:3], failed, rungs()[3]))
    assert found["held_out"]["measured"] == rungs()[3].loss
    assert "the loss became nan" in terminal(found)


def test_fit_without_parts_of_the_text_has_no_interval(made):
    found = made(rungs(), measured=False)
    assert found["fit"]["alpha_95"] is None
    assert "parts" not in found
    assert "no interval" in terminal(found)


def test_document_is_shown_in_every_form(made):
    found = document(made(rungs()))
    page = as_html(found)
    assert "Sizes of text" in page
    assert "<figure>" in page
    assert "20 tokens per parameter" in as_markdown(found)


@pytest.mark.parametrize(
    ("profile", "sizes", "told"),
    [
        ("shakespeare", ("1x2x16", "1x2x32"), "expected 3 different sizes or more"),
        ("shakespeare", ("1x2x16", "1x2x32", "1x2x16"), "expected 3 different sizes or more"),
        ("shakespeare", ("1x2x16", "1x2x32", "1x3x16"), "the width must be a multiple of the heads"),
        ("smol", ("1x2x16", "1x2x32", "1x2x64"), "does not pretrain a model of a size"),
        ("masked", ("1x2x16", "1x2x32", "1x2x64"), "does not pretrain a model of a size"),
    ],
)
def test_ladder_of_wrong_sizes_is_told_before_anything_runs(profile, sizes, told):
    with pytest.raises(UsageError, match=told):
        Ladder(profile, (), None, sizes, 20.0, None).check()
