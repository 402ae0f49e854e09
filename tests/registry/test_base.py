"""Taking over a pretrained model: whole, in safetensors, with a tokenizer that fits, or not at all."""

import hashlib
import json

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GPT2LMHeadModel

from flows.profiles.profile import Profile
from tasks.config import BaseConfig, DownloadConfig, PretrainConfig, TokenizeConfig
from tasks.download.commits import pinned
from tasks.errors import StageError
from tasks.models.gpt import GPT, GPTConfig
from tasks.models.loading import load_model
from tasks.record.manifest import sha256_of_tree
from tasks.registry.import_model import ENDPOINT, base
from tasks.registry.resolve import fingerprints
from tasks.tokenize.stage import train_bpe
from tests.http_server import FaultyServer, Reply

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def model_in(folder, tokenizer=None, context=32):
    tokenizer = tokenizer or train_bpe(["a story of a pear"], 270)
    torch.manual_seed(3)
    shape = GPTConfig(vocab_size=len(tokenizer), context=context, layers=1, heads=2, width=8, end_token=0)
    GPT(shape).save(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path):
    return model_in(tmp_path / "models" / "owner" / "story")


def test_a_folder_is_taken_over_weight_for_weight(folder, stage_run):
    run = stage_run()
    base(BaseConfig(model=str(folder)), run)
    model, tokenizer = load_model(run.out / "model")
    for name, weight in load_file(folder / "model.safetensors").items():
        assert torch.equal(model.state_dict()[name], weight)
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(folder).get_vocab()
    summary = json.loads((run.out / "summary.json").read_text())
    assert summary == {"model": str(folder), "revision": None, "parameters": model.num_parameters()}


@pytest.mark.parametrize("name", ["owner/story", "other/story"])
def test_a_mirror_holds_models_by_their_names(folder, stage_run, name, tmp_path):
    mirror = tmp_path / "models"
    if name == "other/story":
        mirror = mirror / "owner"  # the last part of the name is enough
    run = stage_run()
    base(BaseConfig(model=name, mirror=str(mirror)), run)
    assert json.loads((run.out / "summary.json").read_text())["model"] == name
    assert (run.out / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize("mirrored", [False, True])
def test_pitfall_44_folder_altered_since_the_key_is_refused(folder, stage_run, mirrored, tmp_path):
    mirror = {"model": "owner/story", "mirror": str(tmp_path / "models")}
    config = BaseConfig(**mirror if mirrored else {"model": str(folder)})
    found = fingerprints(config)
    assert found == {"model": sha256_of_tree(folder)}, "whose content stands in the key"
    run = stage_run(fingerprints=found)
    (folder / "vocab.txt").write_text("altered")
    with pytest.raises(StageError, match=r"base\.model: .* was altered since its SHA-256 was taken"):
        base(config, run)


def test_a_tokenizer_without_padding_pads_with_its_end_token(folder, stage_run):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    run = stage_run()
    base(BaseConfig(model=str(folder)), run)
    written = AutoTokenizer.from_pretrained(run.out / "model")
    assert written.pad_token_id == written.eos_token_id


def pickled(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


def lacking(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["transformer.ln_f.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def with_code(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.M"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('this code was run')")


def endless(folder):
    tokenizer = train_bpe(["a story of a pear"], 270)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)


def too_many_tokens(folder):
    train_bpe(["a story of a pear and a tiger and a bear, told by a baker"], 290).save_pretrained(folder)


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (
            pickled,
            r"has no weights as safetensors \(its files are .*pytorch_model.bin.*pickled ones may run code",
        ),
        (lacking, r"lacks weights: transformer\.ln_f\.weight"),
        (truncated, r"its model cannot be loaded"),
        (with_code, r"(its tokenizer|its model) cannot be loaded: .*(custom code|trust_remote_code)"),
        (endless, r"has no end token, so it could not learn to stop"),
        (too_many_tokens, r"knows 2\d\d tokens, its tokenizer has 2\d\d: the two do not belong together"),
    ],
)
def test_what_cannot_be_tuned_is_refused_with_the_reason(folder, stage_run, harm, expected):
    harm(folder)
    with pytest.raises(StageError, match=rf"base\.model .*{expected}"):
        base(BaseConfig(model=str(folder)), stage_run())


def test_model_that_is_nowhere_is_told_with_every_way_to_give_it(stage_run, tmp_path):
    with pytest.raises(
        StageError, match=r"'owner/none' \(main\) could not be downloaded .*MIRROR/owner/none"
    ):
        base(BaseConfig(model="owner/none", mirror=str(tmp_path)), stage_run())


@pytest.fixture
def hub(monkeypatch):
    """A server in the place of the hub. What HF_ENDPOINT does is tried in `test_download.py`."""
    server = FaultyServer()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(ENDPOINT, server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with server.running():
        yield server


def test_hub_model_is_taken_at_the_commit_of_its_revision(hub, folder, stage_run):
    """Over a real socket, as the hub answers: the commit first, then each file at that commit."""
    names = sorted(path.name for path in folder.iterdir())
    info = {"id": "owner/story", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
    tree = [
        {"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": "0" * 40}
        for name in names
    ]
    for revision in ("v1", COMMIT):
        hub.on(f"/api/models/owner/story/revision/{revision}", json_reply(info))
        hub.on(f"/api/models/owner/story/tree/{revision}", json_reply(tree))
    for name in names:
        body = (folder / name).read_bytes()
        etag = f'"{hashlib.sha1(body).hexdigest()}"'
        headers = {"X-Repo-Commit": COMMIT, "Content-Type": "application/octet-stream"}
        hub.on(f"/owner/story/resolve/{COMMIT}/{name}", Reply(body, etag=etag, headers=headers))
    run = stage_run()
    base(BaseConfig(model="owner/story", revision="v1"), run)
    summary = json.loads((run.out / "summary.json").read_text())
    assert summary["revision"] == COMMIT
    model = GPT2LMHeadModel.from_pretrained(run.out / "model")
    assert torch.equal(
        model.transformer.wte.weight, load_file(folder / "model.safetensors")["transformer.wte.weight"]
    )
    assert hub.requests
    assert not any("hf_secret" in str(request.headers) for request in hub.requests)


def json_reply(value):
    return Reply(json.dumps(value).encode(), etag=None, headers={"Content-Type": "application/json"})


# What a branch of the hub is now


def test_pitfall_31_branch_of_the_hub_is_made_its_commit(hub):
    for kind in ("models", "datasets"):
        hub.on(f"/api/{kind}/owner/story/revision/main", json_reply({"id": "owner/story", "sha": COMMIT}))
        hub.on(f"/api/{kind}/owner/story/revision/v2", json_reply({"id": "owner/story", "sha": "b" * 40}))
    story = {"model": "owner/story"}
    assert pinned(BaseConfig(**story)).revision == COMMIT
    assert pinned(BaseConfig(**story, revision="v2")).revision == "b" * 40
    assert pinned(PretrainConfig(**story, weights="pretrained")).revision == COMMIT
    assert pinned(TokenizeConfig(kind="hf", name="owner/story")).revision == COMMIT
    (source,) = pinned(DownloadConfig.model_validate({"sources": [{"dataset": "owner/story"}]})).sources
    assert source.revision == COMMIT
    profile = Profile.model_validate(
        {"name": "p", "base": story, "instructions": {"sources": [{"dataset": "owner/story"}]}}
    ).with_commits()
    assert profile.base.revision == profile.instructions.sources[0].revision == COMMIT


def test_what_the_hub_does_not_decide_is_not_asked_for(hub, folder, tmp_path):
    configs = [
        BaseConfig(model=str(folder)),
        BaseConfig(model="models:/mine@champion"),
        BaseConfig(model="owner/story", revision=COMMIT),
        BaseConfig(model="owner/story", mirror=str(folder.parent.parent)),
        PretrainConfig(),
        TokenizeConfig(),
        TokenizeConfig(kind="hf", name=str(folder)),
        DownloadConfig.model_validate(
            {"sources": [{"made": "skills"}, {"dataset": "a/b", "sha256": "0" * 64}]}
        ),
        DownloadConfig.model_validate({"sources": [{"dataset": "a/b"}], "mirror": str(tmp_path)}),
    ]
    assert [pinned(config) for config in configs] == configs
    assert hub.requests == []


def test_silent_hub_leaves_the_copy_of_this_machine_or_an_error(hub, tmp_path, monkeypatch, caplog):
    hub.on("/api/models/owner/story/revision/main", Reply(status=404))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        StageError, match=r"the model owner/story \(main\) could not be downloaded .* a commit of 40"
    ):
        pinned(BaseConfig(model="owner/story"))
    refs = tmp_path / "models--owner--story" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    assert pinned(BaseConfig(model="owner/story")).revision == COMMIT
    assert f"the copy of this machine is taken, of commit {COMMIT}" in caplog.text
