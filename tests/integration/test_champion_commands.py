"""A model moved by hand, and the next pipeline that starts from it, as a user does both."""

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "touchstone-tiny"


def test_next_pipeline_starts_from_the_champion_a_person_chose(make_workplace):
    workplace = make_workplace("champion")
    settings = ("--set", "promote.min_score=100", "--set", "pretrain.preflight=warn")
    first = workplace("run", "tiny.yaml", *settings, "--json")
    assert first.status == 0, first.err
    assert not first.json["model"]["champion"]
    from_champion = ("run", "tiny.yaml", "--set", f"base.model=models:/{NAME}@champion")
    from_champion += ("--set", "promote.margin=100")  # the champion stays what it is
    early = workplace(*from_champion, "--json")
    assert (early.status, f"{NAME} has no champion yet" in early.json["error"]) == (2, True), early.err

    assert workplace("promote", "1", "--because", "it is a start").status == 0
    report = workplace("report")
    assert "Since then: version 1 is now champion by override: it is a start" in report.out

    second = workplace(*from_champion, "--json")
    assert second.status == 0, second.err
    names = [stage["name"] for stage in second.json["stages"]]
    assert names[:5] == ["download rows", "rows", "base", "preflight rows", "finetune"]
    assert second.json["model"]["version"] == 2
    assert f"{NAME} version 1 is champion by override: it is a start" in second.json["model"]["decision"]
    tracking = workplace.store()
    assert tracking.client.get_model_version(NAME, "2").tags["touchstone.base.version"] == f"{NAME}/1"
    again = workplace(*from_champion, "--json")
    assert all(again.cached.values()), again.cached
    assert again.json["model"]["decision"] == second.json["model"]["decision"]
