"""`touchstone export` and `export:` in a profile: found again, noted on the version, and on the card."""

import json

import pytest
from transformers import AutoModelForCausalLM

from tasks.record.tracking import open_tracking

MODEL = "touchstone-tiny"
GGUF = ("--set", "export.to=gguf", "--set", "export.quantize=[q8_0]", "--set", "export.scored_rows=3")


@pytest.fixture(autouse=True)
def _without_llama_cpp(monkeypatch):
    """Its process takes seconds to start: what it finds is tested elsewhere."""
    monkeypatch.setattr("tasks.export.gguf.has_llama_cpp", lambda: False)


@pytest.fixture(scope="module")
def version(finished):
    """The tags of the version that was exported, as they are now."""
    workplace, _ = finished

    def tags():
        with workplace.entered():
            return open_tracking().client.get_model_version(MODEL, "1").tags

    return tags


def test_registered_model_leaves_as_a_folder_found_again(finished, version, tmp_path):
    workplace, ran = finished
    result = workplace("export", MODEL, "--output", str(tmp_path / "first"), "--json")
    assert result.status == 0, result.err
    told = result.json["export"]
    assert told["name"] == f"{MODEL}-v1"
    assert told["delivered"] == [f"files in {tmp_path / 'first'}"]
    AutoModelForCausalLM.from_pretrained(tmp_path / "first")
    card = (tmp_path / "first" / "README.md").read_text()
    assert "model-index:" in card
    assert "## Limits" in card
    assert str(workplace.folder) not in card
    noted = json.loads(version()["touchstone.export.folder"])
    assert noted == {"run_id": told["run_id"], "digest": told["digest"]} | {
        "files": {name: own["sha256"] for name, own in told["files"].items()}
    }
    run = ran.json["run_id"]
    for name in (f"{MODEL}/1", run[:8], "@latest"):
        again = workplace("export", name, "--output", str(tmp_path / "first"), "--json", "--to", "folder")
        assert again.status == 2, "the folder is not empty"
        assert again.json["error"].endswith("is not empty; name a new folder, or an empty one")
        assert workplace("export", name, "--json").cached == {"export": True}


def test_a_folder_leaves_without_a_measured_cost(finished, tmp_path):
    workplace, _ = finished
    folder = workplace("export", MODEL, "--output", str(tmp_path / "story"), "--json").json
    assert folder["status"] == "completed"
    result = workplace("export", str(tmp_path / "story"), "--to", "gguf", "--json")
    assert result.status == 0, result.err
    assert list(result.json["export"]["files"]) == ["story-f32.gguf"]
    assert result.json["export"]["costs"] == []
    assert any("no test rows are known of this model" in note for note in result.json["export"]["notes"])


def test_what_there_is_not_is_one_message(finished):
    workplace, _ = finished
    for name in ("nobody", "nobody/1", f"{MODEL}@nobody", f"{MODEL}/99", "ffffffff", "@nobody"):
        result = workplace("export", name, "--json")
        assert result.status == 2, name
        assert result.json["status"] == "usage"
        assert "Traceback" not in result.err


def test_profile_exports_its_last_model_with_cost_on_its_card(finished, version):
    workplace, _ = finished
    result = workplace("run", "tiny.yaml", *GGUF, "--json")
    assert result.status == 0, result.err
    stages = result.cached
    assert stages["promote"] is True
    assert list(stages)[-3:] == ["report to export", "export", "report"]
    report = workplace("report", result.json["run_id"], "--json").json["export"]
    assert [cost["kind"] for cost in report["costs"]] == ["f32", "q8_0"]
    assert report["costs"][0]["rows"] == 3
    shown = workplace("report", result.json["run_id"]).out
    assert "Exported as gguf" in shown
    assert "minus the original" in shown
    assert "touchstone.export.gguf.q8_0" in version()
