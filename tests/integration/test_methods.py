"""Pipelines of every shape at the smallest size: preferences, labels, adapters, a base imported."""

import json
import random

import mlflow
import pytest

from tasks.tokenize.stage import train_bpe
from tasks.tokenize.templates import load_template
from tests.registry.test_base import model_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

JUDGED = """
judge: {resamples: 200}
promote: {min_score: 0}
"""
PRETRAINED = """
tokenize: {kind: bpe, vocab_size: 400}
pretrain: {size: 1x2x16, context: 128, steps: 6, batch_size: 2, warmup: 1, eval_every: 2, preflight: warn}
"""
PREFERENCE = f"""
instructions: chats.jsonl
finetune: {{template: chatml, epochs: 1, learning_rate: 2.0e-2, max_length: 128, packing: true}}
dpo: {{tune: lora, lora: {{rank: 2, adapters: kept}}, epochs: 1, learning_rate: 1.0e-2, max_length: 128}}
generate: {{max_new_tokens: 4, decoding: sample, top_k: 5}}
{PRETRAINED}{JUDGED}
"""
LABELS = f"""
labelled: mails.tsv
rows: {{header: [label, text], balance: true, train: 0.7, validation: 0.1}}
classify: {{epochs: 2, learning_rate: 1.0e-2, max_length: 64, evaluations: 2}}
promote: {{min_score: 0}}
{PRETRAINED}
"""
TAKEN_OVER = f"""
base: ./story
instructions: {{sources: [{{made: skills, count: 60}}]}}
finetune: {{template: alpaca, loss: all, tune: lora, lora: {{rank: 2}}, epochs: 1, max_length: 256}}
generate: {{max_new_tokens: 4}}
{JUDGED}
"""
NOUNS = "apple book river stone cloud garden window bottle table lamp forest mountain bridge".split()


def chats():
    """Preference rows as chats; every question is another."""
    draw = random.Random(5)
    for number in range(60):
        one, other = draw.sample(NOUNS, 2)
        question = {"role": "user", "content": f"Is number {number} a {one} or a {other}?"}
        yield {
            "prompt": [{"role": "system", "content": "Be kind."}, question],
            "chosen": [{"role": "assistant", "content": f"It is a {one}, I think."}],
            "rejected": [{"role": "assistant", "content": f"A {other}, obviously."}],
        }


def mails():
    draw = random.Random(6)
    for number in range(120):
        words = " ".join(draw.sample(NOUNS, 9))
        label = "spam" if number % 3 == 0 else "ham"
        yield f"{label}\t{'WIN a' if label == 'spam' else 'I saw the'} {words} {number}"


@pytest.fixture(scope="module")
def workplace(make_workplace):
    place = make_workplace("methods")
    (place.folder / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats()))
    (place.folder / "mails.tsv").write_text("\n".join(mails()) + "\n")
    bare = train_bpe(["Below is an instruction", *NOUNS], 300)
    model_in(place.folder / "story", bare, context=256)
    for name, text in {"preference": PREFERENCE, "labels": LABELS, "over": TAKEN_OVER}.items():
        (place.folder / f"{name}.yaml").write_text(text)
    return place


def stages_of(result):
    assert result.status == 0, result.err
    return [stage["name"] for stage in result.json["stages"]]


def test_preferences_are_learned_and_judged_after_fine_tuning(workplace):
    first = workplace("run", "preference.yaml", "--json")
    assert stages_of(first) == [
        "download rows",
        "rows",
        "tokenize",
        "preflight rows",
        "pretrain",
        "finetune",
        "dpo",
        "generate base",
        "judge base",
        "generate fine-tuned",
        "judge fine-tuned",
        "generate preferred",
        "judge preferred",
        "promote",
        "report",
    ]
    assert [entry["model"] for entry in first.json["scores"] if entry["scorer"] == "metric:chrf"] == [
        "base",
        "fine-tuned",
        "preferred",
    ]
    metrics = {stage["name"]: stage["metrics"] for stage in first.json["stages"]}
    assert {"reward_margin", "reward_accuracy", "validation_reward_margin"} <= metrics["dpo"].keys()
    assert first.json["model"]["version"] == 1
    second = workplace("run", "preference.yaml", "--json")
    assert all(second.cached.values()), second.cached
    card = workplace("report")
    assert "preferred" in card.out
    assert card.status == 0


def test_registered_model_asks_with_the_template_trained_on(workplace, monkeypatch):
    result = workplace("run", "preference.yaml", "--json")
    assert result.status == 0, result.err
    mlflow.set_tracking_uri(f"sqlite:///{workplace.mlruns / 'mlflow.db'}")
    name, version = result.json["model"]["name"], result.json["model"]["version"]
    loaded = mlflow.transformers.load_model(f"models:/{name}/{version}")
    row = {"instruction": "Is number 7 a lamp or a book?", "input": "", "messages": []}
    asked = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": row["instruction"]}], add_generation_prompt=True, return_dict=False
    )
    assert asked == load_template("chatml", loaded.tokenizer).prompt_ids(row)


def test_labels_make_a_classifier_beside_its_baselines(workplace):
    first = workplace("run", "labels.yaml", "--json")
    assert stages_of(first) == [
        "download rows",
        "rows",
        "tokenize",
        "preflight rows",
        "pretrain",
        "classify",
        "promote",
        "report",
    ]
    scores = {entry["model"]: entry for entry in first.json["scores"]}
    assert list(scores) == ["majority", "bag of words", "fine-tuned"]
    assert all(entry["scorer"] == "metric:accuracy" for entry in scores.values())
    assert scores["majority"]["mean"] == pytest.approx(50, abs=10)
    assert all(workplace("run", "labels.yaml", "--json").cached.values())
    mlflow.set_tracking_uri(f"sqlite:///{workplace.mlruns / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model(f"models:/{first.json['model']['name']}/1")
    texts = [{"text": "WIN a lamp"}, {"text": "I saw the lamp"}]
    assert set(model.predict(texts)["label"]) <= {"ham", "spam"}


def test_existing_model_is_fine_tuned_without_a_corpus(workplace):
    first = workplace("run", "over.yaml", "--json")
    assert stages_of(first)[:5] == ["download rows", "rows", "base", "preflight rows", "finetune"]
    assert first.json["status"] == "completed"
    assert all(workplace("run", "over.yaml", "--json").cached.values())


@pytest.mark.parametrize("profile", ["preference", "labels", "over"])
def test_the_preflight_checks_every_shape_without_training(workplace, profile):
    done = workplace("preflight", f"{profile}.yaml", "--json")
    trainings = {result["training"] for result in done.json["checks"]}
    expected = {
        "preference": {"pretraining", "fine-tuning", "preferences"},
        "labels": {"pretraining", "classification"},
        "over": {"fine-tuning"},
    }
    assert trainings == expected[profile]
    assert done.status == (3 if any(p["verdict"] == "failed" for p in done.json["checks"]) else 0)
