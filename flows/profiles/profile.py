"""Profiles: everything a pipeline run is configured by."""

from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from flows.profiles.mixtures import check_mixtures
from flows.profiles.spelling import DOWNLOADS
from flows.stages import STAGES
from tasks.config import (
    AskConfig,
    BaseConfig,
    BenchmarkConfig,
    ClassifyConfig,
    DownloadConfig,
    DpoConfig,
    ExportConfig,
    FinetuneConfig,
    GenerateConfig,
    GrpoConfig,
    JudgeConfig,
    PreflightConfig,
    PretrainConfig,
    PromoteConfig,
    ReportConfig,
    Reuse,
    RewardModelConfig,
    RowsConfig,
    Seeds,
    StageConfig,
    SynthesizeConfig,
    TokenizeConfig,
    TuningConfig,
)
from tasks.models import TRAININGS
from tasks.record.work import never

OF_AUDITS = ("audit_rows", "gates", "choice_gates", "resamples")  # of the settings of judge
FOLLOWING = tuple(stage for stage in TRAININGS.values() if stage != "finetune")  # those after it
ON_HUB = (*DOWNLOADS, "base", "tokenize", "pretrain")  # what may name a model or a data set of the hub


class Takes(StageConfig):
    """What a run of the profile takes, in words; nothing depends on it."""

    time: Annotated[str, Field(description="from start to end, nothing cached, and on what machine")] = ""
    memory: Annotated[str, Field(description="at its peak")] = ""
    network: Annotated[str, Field(description="what is downloaded")] = ""
    device: Annotated[str, Field(description="what it is meant for: CPU or GPU")] = ""


class Profile(StageConfig):
    """One pipeline, whole. Frozen; a wrong key is an error that suggests the right one.

    The base model is pretrained on `corpus`, or imported as `base` says, or pretrained on the training
    rows when neither is given. With `instructions` it is fine-tuned, judged and promoted, with `labelled`
    texts it becomes a classifier, with neither the pipeline ends there.
    """

    name: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9][a-z0-9-]*$",
            description="of the profile; the file's name where it is left out",
        ),
    ]
    description: Annotated[str, Field(description="one line, for lists of profiles and runs")] = ""
    takes: Takes | None = None
    reuse: Annotated[
        Reuse,
        Field(
            description="which earlier results count: auto, of this environment where numbers are computed "
            "(training, generation, hf: judges) and of any for the rest"
        ),
    ] = "auto"
    seeds: Seeds = 1
    corpus: Annotated[DownloadConfig | None, Field(description="text to pretrain on")] = None
    base: Annotated[
        BaseConfig | None, Field(description="a model of Hugging Face instead of pretraining one")
    ] = None
    instructions: Annotated[
        DownloadConfig | None, Field(description="rows to fine-tune on: instructions, chats, preferences")
    ] = None
    synthesize: Annotated[
        SynthesizeConfig | None,
        Field(
            description="rows to fine-tune on that a language model makes, from passages of the corpus or "
            "from rows; beside those of instructions, or alone"
        ),
    ] = None
    labelled: Annotated[
        DownloadConfig | None,
        Field(description="rows to classify: a text with its label or labels, or words with tags"),
    ] = None
    vocabulary: Annotated[
        DownloadConfig | None, Field(description="encoder.json and vocab.bpe, for tokenize.kind=gpt2")
    ] = None
    rows: RowsConfig = RowsConfig()
    tokenize: TokenizeConfig = TokenizeConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    reward: Annotated[
        RewardModelConfig | None,
        Field(description="a reward model, from the fine-tuned one and preferences; left out: there is none"),
    ] = None
    dpo: Annotated[
        DpoConfig | None, Field(description="preference training after fine-tuning; left out: there is none")
    ] = None
    grpo: Annotated[
        GrpoConfig | None,
        Field(description="training by rewards, of the last model before; left out: there is none"),
    ] = None
    classify: ClassifyConfig = ClassifyConfig()
    generate: GenerateConfig = GenerateConfig()
    judge: JudgeConfig = JudgeConfig()
    benchmark: Annotated[
        BenchmarkConfig | None,
        Field(description="what each model is asked beside the test rows; left out: nothing"),
    ] = None
    promote: PromoteConfig = PromoteConfig()
    export: Annotated[
        ExportConfig | None, Field(description="left out: the model stays in the registry alone")
    ] = None
    report: ReportConfig = ReportConfig()

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:
        """The model is named after the profile; responses are asked for with the template trained on."""
        if not isinstance(raw, dict) or not any(map(raw.get, ("instructions", "labelled", "synthesize"))):
            return raw
        raw = dict(raw)
        finetune, promote = raw.get("finetune"), raw.get("promote")
        if isinstance(finetune, dict) and "template" in finetune:
            for stage in ("generate", "reward", *FOLLOWING):
                if isinstance(raw.get(stage), dict) or (stage == "generate" and raw.get(stage) is None):
                    raw[stage] = {"template": finetune["template"]} | (raw.get(stage) or {})
        if isinstance(promote or {}, dict):
            name = (promote or {}).get("name", PromoteConfig.model_fields["name"].default)
            raw["promote"] = (promote or {}) | {"name": str(name).replace("{profile}", str(raw.get("name")))}
        return raw

    @model_validator(mode="before")
    @classmethod
    def _mask_what_is_masked(cls, raw: Any) -> Any:
        """The tokenizer of a masked language model has a mask token."""
        pretrain = raw.get("pretrain") if isinstance(raw, dict) else None
        if not isinstance(pretrain, dict) or pretrain.get("objective") != "masked" or raw.get("base"):
            return raw
        tokenize = raw.get("tokenize") or {}
        return raw | {"tokenize": {"mask_token": True} | tokenize} if isinstance(tokenize, dict) else raw

    @model_validator(mode="after")
    def _require_what_masks_and_fills(self) -> Self:
        is_masked = self.pretrain.objective == "masked" and not self.base
        if is_masked and self.instructions:
            raise ValueError(
                "pretrain.objective is masked, and instructions need a model that writes: one that fills in "
                "masked words cannot continue a prompt. Give labelled texts or no rows, or set "
                "pretrain.objective=causal"
            )
        if self.benchmark and (is_masked or self.labelled):
            made = "a model that fills in masked words" if is_masked else "a classifier"
            raise ValueError(
                f"benchmark asks how likely a text is behind a question, which {made} cannot say. Leave out "
                "benchmark, or make a model that writes"
            )
        if is_masked and self.export and not self.labelled:
            raise ValueError(
                "export: a masked language model alone is not exported; its folder, which the card names, "
                "loads with AutoModelForMaskedLM. Leave out export, or give labelled texts"
            )
        if is_masked != self.tokenize.mask_token and not self.base:
            raise ValueError(
                f"tokenize.mask_token is {str(self.tokenize.mask_token).lower()}, and pretrain.objective is "
                f"{self.pretrain.objective}. Leave tokenize.mask_token out: it follows the objective"
            )
        return self

    @model_validator(mode="after")
    def _check_base_source(self) -> Self:
        if self.corpus and self.base and not self.asks_passages:
            raise ValueError(
                "corpus and base: a model is either pretrained on a corpus or imported; choose one"
            )
        if self.is_tuned and self.labelled:
            first = "instructions" if self.instructions else "synthesize"
            raise ValueError(f"{first} and labelled: choose one; each makes a model of its own")
        if self.asks_passages and not self.corpus:
            raise ValueError(
                "synthesize asks about passages of a corpus, and the profile has none; set corpus"
            )
        if self.synthesize and self.synthesize.needs_given and not self.given:
            raise ValueError(
                f"synthesize.kind: {self.synthesize.kind} needs rows that people wrote; set instructions, or "
                "synthesize.given"
            )
        if not (self.corpus or self.base or self.has_rows):
            raise ValueError("a profile needs a corpus, a base model, instructions or labelled texts")
        return self

    @model_validator(mode="after")
    def _reject_unused_settings(self) -> Self:
        unused = [
            f"{stage}.{name}"
            for stage in sorted(self.unused_stages() & self.model_fields_set)
            if (config := getattr(self, stage)) is not None
            for name in sorted(config.model_fields_set)
        ]
        if self.tokenize.include_rows and not (self.has_rows and self.corpus):
            unused.append("tokenize.include_rows")
        if self.labelled and not self.classify.measure_test:
            unused.append("classify.measure_test")
        if unused:
            raise ValueError(f"{', '.join(unused)}: set, but {self._why_unused()}. Leave these out")
        return self

    def _why_unused(self) -> str:
        """Of the settings that are not used."""
        wrong = self.unused_stages() & self.model_fields_set
        reasons = {
            "the base model is imported, so nothing is tokenized or pretrained": wrong
            & {"tokenize", "pretrain"},
            "there are no instructions, so no rows, fine-tuning, judging or promotion": not self.has_rows,
            "labelled texts make a classifier, without responses or a judge": self.labelled and wrong,
            "only labelled texts are classified": self.is_tuned and "classify" in wrong,
            "the corpus is the training rows already": self.has_rows and self.tokenize.include_rows,
            "a card and a promotion are of test rows": self.labelled and not self.classify.measure_test,
        }
        return "; ".join(reason for reason, holds in reasons.items() if holds)

    @model_validator(mode="after")
    def _mixes_what_is_there(self) -> Self:
        check_mixtures(self)
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        trainings = self.trainings | ({"reward": self.reward} if self.reward else {})
        templates = {stage: config.template for stage, config in trainings.items()}
        for stage, template in ({"generate": self.generate.template} | templates).items():
            if template != self.finetune.template:
                raise ValueError(
                    f"{stage}.template is {template}, finetune.template {self.finetune.template}: "
                    "a model must be asked with the prompt it was trained on"
                )
        if self.generate.model is not None:
            raise ValueError(
                f"generate.model is {self.generate.model}, and a pipeline asks several models. Leave it out: "
                "each is asked for by the first digits of its digest, which the message of the stage tells"
            )
        if (self.tokenize.kind == "gpt2") != (self.vocabulary is not None):
            raise ValueError("vocabulary goes with tokenize.kind=gpt2, and kind=gpt2 needs it")
        criteria = [criterion.name for criterion in self.judge.criteria]
        if self.promote.criterion is not None and self.promote.criterion not in criteria:
            raise ValueError(
                f"promote.criterion is {self.promote.criterion}, and judge.criteria holds "
                f"{', '.join(criteria) or 'none'}"
            )
        for (before, config), (after, _) in pairwise(self.trainings.items()):
            if config.keeps_adapters:
                raise ValueError(
                    f"{before}.lora.adapters is kept, but {after} goes on with the whole model; set it to "
                    "merged"
                )
        if self.reward and self.finetune.keeps_adapters:
            raise ValueError(
                "finetune.lora.adapters is kept, but reward goes on with the whole model; set it to merged"
            )
        if self.grpo and "" in self.grpo.models and not self.reward:
            raise ValueError(
                "grpo.rewards names reward:, this profile's own reward model, and it trains none; add the "
                "section reward, or name another one, as reward:NAME"
            )
        if self.grpo and (both := sorted(set(self.grpo.judges) & set(self.judge.judges))):
            raise ValueError(
                f"grpo.rewards names {both[0]}, and judge.scorer too: a model learns the weakness of the "
                "judge that rewards it, so another scorer has to promote it"
            )
        return self

    @property
    def is_tuned(self) -> bool:
        """Whether it is fine-tuned on instructions, of people or made by a model."""
        return bool(self.instructions or self.synthesize)

    @property
    def has_rows(self) -> bool:
        return bool(self.is_tuned or self.labelled)

    @property
    def reward_judges(self) -> JudgeConfig | None:
        """The judges among the rewards, asked and audited as others are; None where there are none."""
        if not (self.grpo and self.grpo.judges):
            return None
        asked = {name: getattr(self.judge, name) for name in AskConfig.model_fields}
        if self.grpo.asking:
            asked = self.grpo.asking.model_dump()
        scorers = self.grpo.judges
        asked["scorer"] = scorers[0] if len(scorers) == 1 else scorers
        audited = {name: getattr(self.judge, name) for name in OF_AUDITS}
        return JudgeConfig(**asked, **audited)

    @property
    def trainings(self) -> dict[str, TuningConfig]:
        """The trainings of a model that writes, by their stages, in their order."""
        found = {stage: config for stage in TRAININGS.values() if (config := getattr(self, stage))}
        if judges := self.reward_judges:
            asking = AskConfig(**{name: getattr(judges, name) for name in AskConfig.model_fields})
            found["grpo"] = found["grpo"].model_copy(update={"asking": asking})
        return found

    @property
    def reading_rows(self) -> RowsConfig:
        """The settings of rows, with the weights of the instructions' sources."""
        weights = self.instructions.weights if self.instructions else None
        return self.rows.model_copy(update={"mixture": weights}) if weights else self.rows

    @property
    def tokenizing(self) -> TokenizeConfig:
        """The settings of tokenize, which tells the sources of a weighted corpus apart."""
        weights = self.corpus.weights if self.corpus else None
        return self.tokenize.model_copy(update={"sources": tuple(weights)}) if weights else self.tokenize

    @property
    def pretraining(self) -> PretrainConfig:
        """The settings of pretrain, with the weights of the corpus' sources."""
        weights = self.corpus.weights if self.corpus else None
        return self.pretrain.model_copy(update={"mixture": weights}) if weights else self.pretrain

    @property
    def asks_passages(self) -> bool:
        """Whether a model is asked about passages of the corpus."""
        return self.synthesize is not None and self.synthesize.asks_passages

    @property
    def given(self) -> DownloadConfig | None:
        """The rows that people wrote, as a synthesis knows them."""
        return (self.synthesize and self.synthesize.given) or self.instructions

    def stages(self) -> list[str]:
        """The stages that run, in their order."""
        return [name for name, stage in STAGES.items() if stage.runs_in(self)]

    def checks(self, *, rows_only: bool = False) -> PreflightConfig:
        """What a preflight checks; of rows alone, with no more of pretraining than they depend on.

        What is checked of rows does not depend on the seeds of trainings, which share those checks.
        """
        pretrain = self.pretraining
        trainings = {
            "finetune": self.finetune if self.is_tuned else None,
            "reward": self.reward if self.is_tuned else None,
            "dpo": self.dpo,
            "grpo": self.grpo if self.is_tuned else None,
            "classify": self.classify if self.labelled else None,
        }
        if rows_only:
            pretrain = PretrainConfig(
                model=pretrain.model, revision=pretrain.revision, context=pretrain.context
            )
            seedless = {"seed": FinetuneConfig.model_fields["seed"].default}
            trainings = {name: own and own.model_copy(update=seedless) for name, own in trainings.items()}
        return PreflightConfig(pretrain=pretrain, rows_only=rows_only, **trainings)

    def with_commits(self) -> Self:
        """The profile with the commits that its models and data sets of the hub are now."""
        from tasks.benchmark.catalogue import with_revisions
        from tasks.download.commits import pinned

        running = {*self.stages(), *DOWNLOADS}
        found = {name: getattr(self, name) for name in ON_HUB if name in running}
        commits = {name: pinned(own) for name, own in found.items() if own}
        if self.synthesize and self.synthesize.given:
            given = pinned(self.synthesize.given)
            commits["synthesize"] = self.synthesize.model_copy(update={"given": given})
        if self.benchmark:
            commits["benchmark"] = with_revisions(self.benchmark)
        return self.model_copy(update=commits)

    def unused_stages(self) -> set[str]:
        """The stages' sections, where nothing is done with their settings."""
        called_for = {name for name, stage in STAGES.items() if stage.runs_in is not never}
        return (called_for & type(self).model_fields.keys()) - set(self.stages())

    @model_serializer(mode="wrap")
    def _what_runs(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the stages that do not run: no parameter is recorded that nothing was done with."""
        unused = self.unused_stages() | {"takes"}
        return {name: value for name, value in dump(self).items() if value is not None and name not in unused}
