"""Configuration of rows that a language model makes: what it is asked, and which of its answers are kept."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.config.base import OUTSIDE_KEY, Device, Positive, Seed, without_login
from tasks.config.data import DownloadConfig, Encoding, JsonField, Malformed
from tasks.config.judge_kinds import KINDS, kind_of
from tasks.config.judging import EXPECTED_TOLD, METRICS, AskConfig, JudgeConfig, is_scorer
from tasks.config.servers import ServerConfig

SynthesisKind = Literal["questions", "answers", "rewordings", "preferences"]
WRITERS = " or ".join(f"{name}:MODEL" for name, kind in KINDS.items() if kind.reads == "text")
OF_PASSAGES = ("encoding", "field", "malformed", "passage_words", "with_passage", "grounded", "grounded_by")
OF_PREFERENCES = ("order_by", "margin", "second_temperature")
DEFAULT_ORDER = "metric:chrf"

Temperature = Annotated[float, Field(ge=0, le=2)]


class WriterConfig(AskConfig):
    """How a model is asked that writes rows."""

    SECTION: ClassVar[str] = "synthesize"
    ROLE: ClassVar[str] = "the model"
    REFUSED: ClassVar[str] = "to answer"


class SynthesizeConfig(ServerConfig):
    """Rows made by a language model, and the filters that they have to pass."""

    kind: Annotated[
        SynthesisKind,
        Field(
            description="questions: with their answers, from passages of the corpus; answers: to given "
            "questions; rewordings: of given questions, whose answers stay; preferences: two answers to each "
            "given question, a better and a worse"
        ),
    ] = "questions"
    by: Annotated[
        str | tuple[str, ...],
        Field(description=f"the model that writes: {WRITERS}; for preferences also a list of two"),
    ]
    given: Annotated[
        DownloadConfig | None,
        Field(
            description="the rows that are answered, reworded or compared, or that a judge is audited on; "
            "default in a profile: those of instructions"
        ),
        OUTSIDE_KEY,  # its files come as an input
    ] = None
    count: Annotated[
        Positive | None,
        Field(
            description="rows that are asked for; the filters keep fewer. null: one of each passage or row"
        ),
    ] = None
    per_source: Annotated[
        Positive, Field(description="rows that are asked for of one passage, or of one row, at most")
    ] = 4
    prompt: Annotated[
        Path | None,
        Field(
            description="a file with the prompt, with {passage} or {question} where that goes; null: the one "
            "that comes with this version (tasks/synthesize/*.txt)"
        ),
        OUTSIDE_KEY,  # its digest is in the key
    ] = None
    temperature: Annotated[Temperature, Field(description="at which answers are drawn")] = 0.7
    second_temperature: Annotated[
        Temperature,
        Field(description="of preferences by one model: at which the second answer is drawn"),
    ] = 1.2
    seed: Seed = 123
    max_tokens: Annotated[Positive, Field(description="tokens of one answer of the model")] = 512
    encoding: Encoding = ""
    field: JsonField = ""
    malformed: Annotated[
        Malformed,
        Field(description="what a malformed document of the corpus does: end the stage, or be left out"),
    ] = "stop"
    passage_words: Annotated[
        int, Field(ge=20, description="words of a passage, about; it ends with a paragraph or a sentence")
    ] = 150
    with_passage: Annotated[
        bool, Field(description="the passage is the input of its rows; else a question stands for itself")
    ] = False
    min_words: Annotated[Positive, Field(description="words of a question, and of an answer, at least")] = 1
    max_words: Annotated[Positive, Field(description="words of a question, and of an answer, at most")] = 200
    language: Annotated[
        str,
        Field(
            description="in English: the language of the rows; auto: that of nearly all passages or given "
            "rows; any: not looked at"
        ),
    ] = "auto"
    verbatim_words: Annotated[
        int,
        Field(
            ge=0,
            description="a question or an answer of so many words or more that stands in the corpus word for "
            "word is set aside; 0: none is",
        ),
    ] = 20
    grounded: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="share of an answer's content words that its passage has, at least; by a judge: of "
            "the highest score",
        ),
    ] = 0.6
    grounded_by: Annotated[
        str, Field(description=f"words: counted; {EXPECTED_TOLD}: a judge that passed its audit")
    ] = "words"
    order_by: Annotated[
        str,
        Field(
            description="what says which of two answers is better: metric:chrf, bleu, rouge-l or exact, "
            f"against the given answer; {EXPECTED_TOLD}: a judge that passed its audit"
        ),
    ] = DEFAULT_ORDER
    margin: Annotated[
        float, Field(ge=0, lt=100, description="points (of 100) that two answers must be apart")
    ] = 5.0
    shown: Annotated[Positive, Field(description="rows on the page, kept ones and set-aside ones each")] = 8
    host: Annotated[
        str | None,
        Field(description="of ollama: models; default: OLLAMA_HOST, then 127.0.0.1:11434"),
        OUTSIDE_KEY,
    ] = None
    pull: Annotated[
        bool, Field(description="let Ollama fetch a model that it does not have"), OUTSIDE_KEY
    ] = False
    context: Annotated[Positive, Field(description="Ollama's num_ctx, sent with every call, tokens")] = 4096
    max_age_days: Annotated[
        float,
        Field(gt=0, description="age from which kept answers of openai: models are asked for again"),
        OUTSIDE_KEY,
    ] = 7.0
    device: Device = "auto"

    @property
    def writers(self) -> tuple[str, ...]:
        return (self.by,) if isinstance(self.by, str) else self.by

    @property
    def judges(self) -> tuple[str, ...]:
        """Judges that decide on rows: each has to pass its audit first."""
        own = (self.grounded_by,) if self.kind == "questions" else ()
        own = (self.order_by,) if self.kind == "preferences" else own
        return tuple(name for name in own if name != "words" and not name.startswith("metric:"))

    @property
    def in_process(self) -> bool:
        return any(kind_of(judge).in_process for judge in self.judges)

    @property
    def asks_passages(self) -> bool:
        """Whether rows are made from a corpus, and not from given rows."""
        return self.kind == "questions"

    @property
    def needs_given(self) -> bool:
        """Whether there must be given rows."""
        return not self.asks_passages or bool(self.judges)

    def writing(self, writer: str) -> WriterConfig:
        """How a writer is asked."""
        return WriterConfig(**self._asked(), scorer=writer, max_tokens=self.max_tokens)

    def judging(self) -> JudgeConfig | None:
        """How the judge is asked that decides on rows; None where none does."""
        return JudgeConfig(**self._asked(), scorer=self.judges[0]) if self.judges else None

    def _asked(self) -> dict[str, Any]:
        names = ("host", "base_url", "key_variable", "pull", "context", "seed", "concurrency", "timeout")
        return {name: getattr(self, name) for name in (*names, "attempts", "max_age_days", "device")}

    @field_validator("by", mode="before")
    @classmethod
    def _writes(cls, value: Any) -> Any:
        for name in (value,) if isinstance(value, str) or not isinstance(value, list | tuple) else value:
            if not isinstance(name, str) or name.startswith("metric:") or not is_scorer(name):
                raise ValueError(f"{name!r} is no model that can be asked; expected {WRITERS}")
            if kind_of(name).reads != "text":
                raise ValueError(
                    f"{name} writes no text here: its judgements are read in another way; expected "
                    f"{WRITERS}. Serve it (touchstone serve, vLLM, llama.cpp) and name it openai:MODEL"
                )
        return value

    @field_validator("grounded_by", "order_by")
    @classmethod
    def _judges(cls, value: str) -> str:
        if value != "words" and not is_scorer(value):
            raise ValueError(f"{value!r} is no judge; expected {EXPECTED_TOLD}")
        kind = KINDS.get(value.partition(":")[0])
        if kind and kind.reads == "rewards":
            raise ValueError(
                f"{value} is a reward model, which cannot be told what to look at; expected {EXPECTED_TOLD}"
            )
        return value

    @field_validator("host")
    @classmethod
    def _host_without_login(cls, value: str | None) -> str | None:
        return without_login(value)

    @model_validator(mode="after")
    def _goes_with_kind(self) -> Self:
        fields = type(self).model_fields
        idle = () if self.asks_passages else OF_PASSAGES
        idle = idle if self.kind == "preferences" else (*idle, *OF_PREFERENCES)
        if wrong := [name for name in idle if getattr(self, name) != fields[name].default]:
            raise ValueError(f"{', '.join(wrong)}: set, but not used by kind: {self.kind}")
        if len(self.writers) != 1 and (self.kind != "preferences" or len(set(self.writers)) != 2):
            raise ValueError("by: one model; of kind: preferences two different ones may be named")
        if self.order_by == "words" or self.grounded_by.startswith("metric:"):
            raise ValueError(
                f"order_by: one of {', '.join(f'metric:{name}' for name in METRICS)} or a judge; "
                f"grounded_by: words or a judge ({EXPECTED_TOLD})"
            )
        if self.min_words > self.max_words:
            raise ValueError(f"min_words ({self.min_words}) is more than max_words ({self.max_words})")
        return self
