"""What `touchstone compare` takes for pretrained models, and what it says of mistakes."""

import pytest

from flows.command.losses import pretrained_sides
from flows.dispatch.runs import KIND, PIPELINE, SEED, SEEDS
from flows.losses.inputs import find_pretrained
from tasks.config import PretrainConfig
from tasks.errors import UsageError
from tasks.record.stage import MADE_BY
from tasks.record.tracking import local_folder

CARD = {f"{MADE_BY}report": "0"}


class Store:
    """Runs as pipelines leave them, without the outputs that nobody reads here."""

    def __init__(self, tracking):
        self.tracking = tracking

    def run(self, tags, name=None):
        run = self.tracking.client.create_run(self.tracking.experiment_id, tags=tags, run_name=name)
        self.tracking.client.set_terminated(run.info.run_id)
        return run

    def stage(self, name, digest, **tags):
        own = {
            f"touchstone.{tag}": value for tag, value in {"stage": name, "key": "k", "digest": digest}.items()
        }
        return self.run(own | tags)

    def pretrained(self, name, tokens="t", seed=1, *others, **settings):
        """The run of a profile, its tokens with that digest; `others` are labels of further stages."""
        self.stage("tokenize", tokens)
        model = self.stage("pretrain", f"{name}{seed}", **{"touchstone.dataset.tokens.tokenize": tokens})
        folder = local_folder(model.info.artifact_uri) / "auxiliary"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(PretrainConfig(seed=seed, **settings).model_dump_json())
        made = {f"{MADE_BY}{label}": "0" for label in others} | {f"{MADE_BY}pretrain": model.info.run_id}
        return self.run(CARD | made | {KIND: PIPELINE, "touchstone.profile": name}, name)

    def seeds(self, name, *runs):
        numbered = {f"{SEED}{number}": run.info.run_id for number, run in enumerate(runs, start=1)}
        return self.run(CARD | numbered | {KIND: SEEDS}, name)


@pytest.fixture
def store(tmp_path, fresh_store, monkeypatch):
    tracking = fresh_store(tmp_path / "mlruns")
    monkeypatch.setattr("flows.losses.inputs.open_tracking", lambda: tracking)
    return Store(tracking)


def test_run_that_only_pretrains_is_found_with_its_tokens(store):
    run = store.pretrained("spelling", "t")
    found = find_pretrained("spelling")
    assert found.name == f"spelling ({run.info.run_id[:8]})"
    assert (found.config.seeds, found.config.sequences, found.tokens.digest) == ((1,), 16, "t")


def test_group_of_seeds_is_one_input_of_as_many_models(store):
    runs = [store.pretrained("spelling", "t", seed) for seed in (5, 6)]
    found = find_pretrained(store.seeds("spelling", *runs).info.run_id)
    assert found.config.seeds == (5, 6)
    assert [model.digest for model in found.models] == ["spelling5", "spelling6"]
    assert found.name.endswith(", 2 seeds")


@pytest.mark.parametrize("label", ["generate base", "finetune", "classify"])
def test_run_that_tunes_its_base_is_compared_by_responses(store, label):
    store.pretrained("book", "t", 1, label)
    assert find_pretrained("book") is None


def test_files_and_unknown_names_are_left_to_responses(store, tmp_path):
    (tmp_path / "rows.json").write_text("[]")
    assert find_pretrained(str(tmp_path / "rows.json")) is None
    assert find_pretrained("nothing-of-this-name") is None
    assert pretrained_sides("nothing", "either", ["--judge"]) is None


def test_a_pretrained_model_and_another_run_do_not_compare(store):
    store.pretrained("spelling")
    store.pretrained("book", "t", 1, "generate base")
    for sides in (("spelling", "book"), ("book", "spelling")):
        with pytest.raises(UsageError, match=r"spelling was pretrained and has no responses .*book is not"):
            pretrained_sides(*sides, [])


def test_models_of_different_tokens_do_not_compare(store):
    store.pretrained("one", "t")
    store.pretrained("other", "u")
    with pytest.raises(UsageError, match="trained on different tokens"):
        pretrained_sides("one", "other", [])


def test_masked_language_models_do_not_compare(store):
    store.pretrained("filling", objective="masked", architecture="bert")
    store.pretrained("spelling")
    with pytest.raises(UsageError, match=r"filling .* fills in what is masked"):
        pretrained_sides("filling", "spelling", [])


def test_options_about_responses_are_refused(store):
    store.pretrained("one")
    store.pretrained("other")
    with pytest.raises(UsageError, match="--judge, --pairwise is about responses"):
        pretrained_sides("one", "other", ["--judge", "--pairwise"])
    assert pretrained_sides("one", "other", []) is not None
