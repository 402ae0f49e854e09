"""A judge in this process, from the command to the numbers that MLflow keeps."""

import pytest

from tests.judge.test_local_backend import judge_in


@pytest.mark.slow
def test_a_judge_in_a_folder_with_a_comma_judges_a_whole_run(finished, tmp_path):
    workplace, _ = finished
    scorer = f"hf:{judge_in(tmp_path / 'small,judge')}"
    counted = ("--despite-audit", "--set", "judge.min_mass=0")
    result = workplace("run", "tiny.yaml", "--judge", scorer, *counted, "--json")
    assert result.status == 0, result.err
    entries = [entry for entry in result.json["scores"] if entry["scorer"] == scorer]
    assert [entry["scored"] for entry in entries] == [6, 6]
    store = workplace.store()
    metrics = store.client.get_run(result.json["run_id"]).data.metrics
    means = [mean for name, mean in metrics.items() if name.endswith("small_judge.mean")]
    assert sorted(means) == sorted(entry["mean"] for entry in entries)
