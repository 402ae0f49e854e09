"""The loss of fine-tuning: of the supervised tokens alone, whichever way their logits are computed."""

from types import SimpleNamespace

import pytest
import torch

from tasks.batches.tuning import sft_data
from tasks.config import FinetuneConfig
from tasks.finetune import sft
from tasks.models.loading import load_causal, load_tokenizer
from tasks.models.optimizers import JointOptimizer, make_optimizers
from tests.finetune.tuning import base_in, rows_in, word_tokenizer
from tests.runs import stage_run_in

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trainer that is not trained, a batch of its own, and the model."""
    folder = tmp_path_factory.mktemp("loss")
    base = base_in(folder / "base", word_tokenizer(), dropout=0.0)
    model, tokenizer = load_causal(base / "model"), load_tokenizer(base / "model")
    config = FinetuneConfig(template="phi3", max_length=64, device="cpu", optimizer="muon")
    data = sft_data(config, tokenizer, rows_in(folder / "rows"), 64)
    trainer = sft._trainer(config, stage_run_in(folder / "run"), model, data, torch.device("cpu"))
    batch = data.collator([data.datasets["train"][place] for place in range(5)])
    return SimpleNamespace(trainer=trainer, batch=batch, model=model, config=config)


def loss_of(trained, items):
    trained.model.zero_grad()
    loss = trained.trainer.compute_loss(trained.model, dict(trained.batch), num_items_in_batch=items)
    loss.backward()
    return loss.item(), [p.grad.clone() for p in trained.model.parameters()]


@pytest.mark.parametrize("items", [None, torch.tensor(400)])
def test_logits_of_supervised_tokens_give_trls_loss_and_gradient(trained, monkeypatch, items):
    own, gradients = loss_of(trained, items)
    monkeypatch.setattr(sft, "LOGITS", 0)
    tiled, expected = loss_of(trained, items)
    assert own == pytest.approx(tiled, rel=1e-5)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_it_is_the_loss_of_all_logits(trained):
    with torch.no_grad():
        logits = trained.model(input_ids=trained.batch["input_ids"]).logits[:, :-1]
    labels = trained.batch["labels"][:, 1:]
    expected = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100)
    assert loss_of(trained, None)[0] == pytest.approx(expected.item(), rel=1e-5)


def test_the_head_is_whole_again_after_an_error(trained, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(trained.model.transformer, "forward", fails)
        with pytest.raises(RuntimeError, match="no memory"):
            loss_of(trained, None)
    assert trained.model(input_ids=trained.batch["input_ids"]).logits.dim() == 3


def test_two_optimizers_in_one_are_kept_as_they_step_alone(trained):
    """A schedule sets the rate of either through the joint groups, also after its state was loaded."""

    def stepped(joint, optimizers):
        torch.manual_seed(1)
        for parameter in trained.model.parameters():
            parameter.grad = torch.randn_like(parameter)
        for group in joint.param_groups:
            group["lr"] = 1e-3
        for optimizer in optimizers:
            optimizer.step()
        return [p.detach().clone() for p in trained.model.parameters()]

    weights = {name: p.detach().clone() for name, p in trained.model.named_parameters()}
    ways = []
    for together in (True, False):
        trained.model.load_state_dict(weights, strict=False)
        parts = make_optimizers(trained.model, trained.config)
        assert len(parts) == 2
        joint = JointOptimizer(parts)
        stepped(joint, [joint] if together else parts)
        joint.load_state_dict(joint.state_dict())
        ways.append(stepped(joint, [joint] if together else parts))
    for one, other in zip(*ways, strict=True):
        assert torch.equal(one, other)
