"""The checks before reinforcement: what would make its rewards teach nothing, or something else."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import NoReturn

import torch
from torch import Tensor

from tasks.batches.supervised import supervise
from tasks.config import GrpoConfig
from tasks.data.token_files import IGNORED
from tasks.errors import StoppedError
from tasks.generate.in_training import whole
from tasks.models.loading import load_writer
from tasks.models.summary import ModelSummary
from tasks.preflight.checks import Check, run_checks
from tasks.preflight.model import still
from tasks.preflight.report import CheckResult, CheckVerdict, Report
from tasks.record.stage import StageRun
from tasks.reinforce.rewards import scored, total
from tasks.reinforce.rollouts import grouped
from tasks.reinforce.trainer import RewardTraining
from tasks.tokenize.templates import load_template

REINFORCEMENT = "reinforcement"
NO_KL = 1e-4  # nats a token: what rounding comes to, in bfloat16 too
ALONE = 8  # responses that are read by themselves too
SAME = {"float32": 1e-3, "bfloat16": 0.3}  # nats of one token, by what is computed in


def check_reinforcement(config: GrpoConfig, trainer: RewardTraining, tuned: Path, run: StageRun) -> Report:
    """Check the model in `tuned`, the rewards of what it writes, and what it is held to."""
    sample = Sample(config, trainer, run)
    checks = [
        Check("prompt as trained", lambda: prompt_as_trained(trainer, tuned)),
        Check("reference model", lambda: reference_is_tuned(trainer, tuned)),
        Check("rewards within groups", lambda: rewards_differ(sample)),
        Check("responses end", lambda: responses_end(sample)),
        Check("rewards asked again", lambda: rewards_repeat(sample)),
        Check("padding shifts nothing", lambda: padding_shifts_nothing(trainer, sample)),
        Check("first KL", lambda: first_kl(trainer, sample)),
    ]
    results = run_checks(checks, run.phase)
    return Report.of(REINFORCEMENT, results, sample.example())


@dataclass(frozen=True)
class Sample:
    """Groups of responses to some prompts of the train split, drawn as the first step would draw them."""

    config: GrpoConfig
    trainer: RewardTraining
    run: StageRun

    @property
    def count(self) -> int:
        return min(self.config.checked_prompts, len(self.trainer.data.ids["train"]))

    @cached_property
    def prompts(self) -> list[Sequence[int]]:
        return grouped(self.trainer.data.ids["train"][: self.count], self.config.group_size)

    @cached_property
    def responses(self) -> list[list[int]]:
        return self.trainer.rollouts.drawn(self.trainer.model, self.prompts, "checks", self._stop)

    @cached_property
    def texts(self) -> list[str]:
        return self.trainer.rollouts.texts(self.responses)

    @cached_property
    def values(self) -> dict[str, list[float]]:
        return self.scored()

    def scored(self) -> dict[str, list[float]]:
        rows = self.trainer.data.rows["train"][: self.count]
        return scored(self.trainer.rewards, self.texts, [row for row in rows for _ in self._group])

    @property
    def _group(self) -> range:
        return range(self.config.group_size)

    @property
    def groups(self) -> list[list[float]]:
        """The sums of all rewards, by prompt."""
        sums, size = total(self.trainer.rewards, self.values), self.config.group_size
        return [sums[start : start + size] for start in range(0, len(sums), size)]

    def example(self) -> str:
        """The first prompt with the responses of its group and their rewards."""
        sums = self.groups[0]
        prompt = self.trainer.data.template.tokenizer.decode(self.prompts[0])
        return "\n".join([prompt, *(f"{sums[at]:.3f}  {self.texts[at]!r}" for at in self._group)])

    def _stop(self) -> None:
        if self.run.stop.is_set():
            _stopped()


def _stopped() -> NoReturn:
    raise StoppedError("stopped before the first step")


def _verdict(passed: bool) -> CheckVerdict:
    return "passed" if passed else "failed"


def prompt_as_trained(trainer: RewardTraining, tuned: Path) -> CheckResult:
    """Every prompt as the trainer asks it against what fine-tuning supervised, token for token."""
    data = trainer.data
    template = load_template(ModelSummary.read(tuned).template, data.template.tokenizer)
    rows = data.rows["train"]
    asked, *_ = trainer._tokenize_prompts([str(place) for place in range(len(rows))])
    where = found = ""
    for row, ids in zip(rows, asked, strict=True):
        example = supervise(template, row, data.max_length)
        learned = next(place for place, label in enumerate(example.labels) if label != IGNORED)
        if ids != example.input_ids[:learned]:
            place = next(
                (
                    at
                    for at, pair in enumerate(zip(ids, example.input_ids, strict=False))
                    if pair[0] != pair[1]
                ),
                min(len(ids), learned),
            )
            where, found = f"train row {row['id']}, token {place}", "another prompt than was trained on"
            break
    expected = f"the tokens that fine-tuning with template {template.name} trained on"
    return CheckResult(
        "prompt as trained",
        _verdict(not found),
        found or f"{len(rows)} prompts are the same",
        expected,
        where,
    )


def reference_is_tuned(trainer: RewardTraining, tuned: Path) -> CheckResult:
    """The digest of the reference's weights against those in the folder of the fine-tuned model."""
    with trainer.as_reference() as reference:
        found = digest_of_weights(whole(reference))
    expected = digest_of_weights(load_writer(tuned / "model"))
    return CheckResult(
        "reference model",
        _verdict(found == expected),
        f"weights {found[:12]}",
        f"those of the fine-tuned model, {expected[:12]}",
    )


def digest_of_weights(model: torch.nn.Module) -> str:
    """SHA-256 of every weight by name, adapters left out."""
    digest = hashlib.sha256()
    weights = {name.replace(".base_layer", ""): tensor for name, tensor in model.state_dict().items()}
    for name in sorted(name for name in weights if "lora_" not in name):
        digest.update(name.encode())
        digest.update(weights[name].detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def rewards_differ(sample: Sample) -> CheckResult:
    """Within enough groups some response is worth more than another: else there is nothing to learn from."""
    groups, config = sample.groups, sample.config
    differing = sum(max(own) > min(own) for own in groups)
    values = [value for own in groups for value in own]
    found = (
        f"in {differing} of {len(groups)} groups; rewards from {min(values):g} to {max(values):g}, mean "
        f"{fmean(values):.3f}, of {len(values)} responses"
    )
    passed = differing > 0 and differing >= config.min_informative * len(groups)
    if not passed:
        found += (
            ". Where all are worth the same there is no gradient: fine-tune longer, raise grpo.temperature "
            "or grpo.group_size, or add a reward that tells nearly right from wrong (chrf)"
        )
    expected = f"rewards differ in {config.min_informative:.0%} of the groups or more"
    return CheckResult("rewards within groups", _verdict(passed), found, expected)


def responses_end(sample: Sample) -> CheckResult:
    """Responses that a limit cuts are judged by what they have not said."""
    cut = sample.trainer.rollouts.is_cut(sample.trainer.model, sample.responses)
    share, most = fmean(cut), sample.config.max_cut
    found = f"{sum(cut)} of {len(cut)} responses cut ({share:.0%})"
    if share > most:
        found += ". Raise grpo.max_new_tokens, or fine-tune until responses end"
    expected = f"at most {most:.0%} cut by the limit of {sample.config.max_new_tokens} tokens"
    return CheckResult("responses end", _verdict(share <= most), found, expected)


def rewards_repeat(sample: Sample) -> CheckResult:
    """The same text is worth the same when its rewards are asked for again."""
    first, again = sample.values, sample.scored()
    unequal = [
        (name, place)
        for name, values in first.items()
        for place, pair in enumerate(zip(values, again[name], strict=True))
        if pair[0] != pair[1]
    ]
    if not unequal:
        return CheckResult("rewards asked again", "passed", f"{len(sample.texts)} are the same", "the same")
    name, place = unequal[0]
    row = sample.trainer.data.rows["train"][place // sample.config.group_size]
    return CheckResult(
        "rewards asked again",
        "failed",
        f"{len(unequal)} differ; {name} gave {first[name][place]:g}, then {again[name][place]:g}",
        "the same for the same text",
        f"train row {row['id']}",
    )


def first_kl(trainer: RewardTraining, sample: Sample) -> CheckResult:
    """Before any step the model is its reference, by the numbers that training goes by."""
    size = min(trainer.args.train_batch_size, len(sample.prompts))
    prompts, responses = sample.prompts[:size], sample.responses[:size]
    inputs, mask, keep = padded(trainer, prompts, responses)
    with still(trainer.model):
        own = _log_probs(trainer, trainer.model, inputs, mask, keep)
        with trainer.as_reference() as reference:
            held = _log_probs(trainer, reference, inputs, mask, keep)
    learned = mask[:, -keep:].bool()
    apart = (held - own)[learned].double()
    kl = (apart.exp() - apart - 1).mean().item()
    passed = abs(kl) <= NO_KL
    return CheckResult("first KL", _verdict(passed), f"{kl:.2g} nats a token", "0: the two are one")


def padding_shifts_nothing(trainer: RewardTraining, sample: Sample) -> CheckResult:
    """The probabilities that training goes by, of responses padded together and of each read alone.

    TRL gives models no positions; those of a model that learned them are shifted by padding on the left.
    """
    count = min(ALONE, sample.count)
    places = range(0, count * sample.config.group_size, sample.config.group_size)  # of different prompts
    prompts, responses = ([own[place] for place in places] for own in (sample.prompts, sample.responses))
    with still(trainer.model):
        together = _log_probs(trainer, trainer.model, *padded(trainer, prompts, responses))
        furthest = 0.0
        for place, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            alone = _log_probs(trainer, trainer.model, *padded(trainer, [prompt], [response]))[0]
            apart = (together[place, : len(response)] - alone).abs().max().item()
            furthest = max(furthest, apart)
    most = SAME[sample.config.precision]
    found = f"{furthest:.2g} nats apart at most, of {count} responses"
    expected = f"log-probabilities of each token alone, within {most:g} nats"
    return CheckResult("padding shifts nothing", _verdict(furthest <= most), found, expected)


def padded(
    trainer: RewardTraining, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor, int]:
    """Prompts padded on the left, responses on the right: tokens and mask, and how long the responses are."""
    before, behind = max(map(len, prompts)), max(map(len, responses))
    padding = trainer.processing_class.pad_token_id
    ids, mask = [], []
    for prompt, response in zip(prompts, responses, strict=True):
        left, right = before - len(prompt), behind - len(response)
        ids.append([padding] * left + [*prompt, *response] + [padding] * right)
        mask.append([0] * left + [1] * (len(prompt) + len(response)) + [0] * right)
    device = trainer.args.device
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device), behind


def _log_probs(
    trainer: RewardTraining, model: torch.nn.Module, ids: Tensor, mask: Tensor, keep: int
) -> Tensor:
    log_probs: Callable[..., tuple[Tensor, ...]] = trainer._get_per_token_logps_and_entropies
    return log_probs(model, ids, mask, keep)[0]
