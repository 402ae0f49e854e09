"""Profiles: everything a pipeline run is configured by, from a YAML file and `--set` overrides."""

import difflib
import typing
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import (
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from tasks.config import (
    DownloadConfig,
    FinetuneConfig,
    GenerateConfig,
    JudgeConfig,
    PretrainConfig,
    PromoteConfig,
    ReportConfig,
    RowsConfig,
    StageConfig,
    TokenizeConfig,
    source_from_text,
)
from tasks.errors import UsageError
from tasks.home import home

DOWNLOADS = ("corpus", "instructions", "vocabulary")
OF_INSTRUCTIONS = ("rows", "finetune", "generate", "judge", "promote")  # stages that run only with them


class Profile(StageConfig):
    """One pipeline, whole. Frozen; a wrong key is an error that suggests the right one."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    description: str = ""
    corpus: DownloadConfig
    instructions: Annotated[
        DownloadConfig | None, Field(description="left out: the pipeline ends after pretraining")
    ] = None
    vocabulary: Annotated[
        DownloadConfig | None, Field(description="encoder.json and vocab.bpe, for tokenize.kind=gpt2")
    ] = None
    rows: RowsConfig = RowsConfig()
    tokenize: TokenizeConfig = TokenizeConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    generate: GenerateConfig = GenerateConfig()
    judge: JudgeConfig = JudgeConfig()
    promote: PromoteConfig = PromoteConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:
        """The model is named after the profile; responses are asked for with the template trained on."""
        if not isinstance(raw, dict) or raw.get("instructions") is None:
            return raw
        raw = dict(raw)
        finetune, generate, promote = (raw.get(stage) for stage in ("finetune", "generate", "promote"))
        if isinstance(finetune, dict) and "template" in finetune and isinstance(generate or {}, dict):
            raw["generate"] = {"template": finetune["template"]} | (generate or {})
        if isinstance(promote or {}, dict):
            name = (promote or {}).get("name", PromoteConfig.model_fields["name"].default)
            raw["promote"] = (promote or {}) | {"name": str(name).replace("{profile}", str(raw.get("name")))}
        return raw

    @model_validator(mode="after")
    def _sets_what_runs(self) -> Self:
        if self.instructions:
            return self
        idle = [
            f"{stage}.{name}"
            for stage in OF_INSTRUCTIONS
            if stage in self.model_fields_set
            for name in sorted(getattr(self, stage).model_fields_set)
        ]
        if self.tokenize.include_rows:
            idle.append("tokenize.include_rows")
        if idle:
            raise ValueError(
                f"{', '.join(idle)}: set, but there are no instructions, so no rows, fine-tuning, judging or "
                "promotion. Add instructions, or leave these out"
            )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.generate.template != self.finetune.template:
            raise ValueError(
                f"generate.template is {self.generate.template}, finetune.template {self.finetune.template}: "
                "a model must be asked with the prompt it was trained on"
            )
        if (self.tokenize.kind == "gpt2") != (self.vocabulary is not None):
            raise ValueError("vocabulary goes with tokenize.kind=gpt2, and kind=gpt2 needs it")
        return self

    @model_serializer(mode="wrap")
    def _what_runs(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the stages that do not run: no parameter is recorded that nothing was done with."""
        fields = dump(self)
        return fields if self.instructions else {k: v for k, v in fields.items() if k not in OF_INSTRUCTIONS}


def profiles_folder() -> Path:
    return home() / "deployments" / "profiles"


def profile_names() -> list[str]:
    return sorted(path.stem for path in profiles_folder().glob("*.yaml"))


def load_profile(name: str, overrides: Iterable[str] = (), mirror: str | None = None) -> Profile:
    """A profile by name or by the path of a YAML file, with `a.b=c` overrides and a mirror for downloads.

    Paths in the file are relative to it, paths in overrides to the current folder. Raises UsageError naming
    every key at fault.
    """
    path = _find(name)
    raw = _read_yaml(path)
    raw.setdefault("name", path.stem)
    _spell_out(raw, path.parent)
    for override in overrides:
        _apply(raw, override)
        _spell_out(raw, Path.cwd())
    for download in DOWNLOADS:
        if mirror and isinstance(raw.get(download), dict):
            raw[download]["mirror"] = mirror
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        raise UsageError(f"profile {name}: {_explain(error)}") from error


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise UsageError(
                f"profile {name} does not exist; give the path of a YAML file, or one of: "
                f"{', '.join(profile_names())}"
            )
        return Path(name).resolve()
    path = profiles_folder() / f"{name}.yaml"
    if not path.is_file():
        close = difflib.get_close_matches(name, profile_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else "a path to a YAML file works too."
        raise UsageError(f"there is no profile {name!r}; there are {', '.join(profile_names())}; {hint}")
    return path


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _OnceLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise UsageError(f"{path.name}: expected a mapping of stages to settings, found {raw!r}")
    return raw


class _OnceLoader(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error; PyYAML takes the last one in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key!r} stands twice", problem_mark=key_node.start_mark
                )
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


def _spell_out(raw: dict[str, Any], folder: Path) -> None:
    """Write downloads that are a single string in full, and anchor relative paths to the profile's folder.

    Paths are then right wherever the command is started, and `--set corpus.timeout=5` keeps the path.
    """
    for name in DOWNLOADS:
        if isinstance(raw.get(name), str):
            raw[name] = {"sources": [source_from_text(raw[name])]}
        sources = raw[name].get("sources") if isinstance(raw.get(name), dict) else None
        for source in sources if isinstance(sources, list) else ():
            if isinstance(source, dict) and source.get("path"):
                source["path"] = str(folder / str(source["path"]))


def _apply(raw: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise UsageError(f"--set {override!r}: expected a.b=value, for example --set pretrain.size=124M")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(
            f"--set {name}: {text!r} is not a valid value: {' '.join(str(error).split())}"
        ) from error
    *parents, last = name.split(".")
    target: Any = raw
    for parent in parents:
        if isinstance(target, list):
            target = _item(target, parent, name)
        elif isinstance(target.get(parent), dict | list):
            target = target[parent]
        else:
            target[parent] = {}
            target = target[parent]
    if isinstance(target, list):
        _item(target, last, name)
        target[int(last)] = value
    else:
        target[last] = value


def _item(items: list[Any], index: str, name: str) -> Any:
    if not index.isdecimal() or int(index) >= len(items):
        raise UsageError(
            f"--set {name}: {index!r} is not a position in a list of {len(items)} (counted from 0)"
        )
    return items[int(index)]


def _explain(error: ValidationError) -> str:
    """Every fault in one line: the key, what was found, and the key that was probably meant.

    A fault inside a list also makes the list look empty: only the innermost is told.
    """
    locations = [details["loc"] for details in error.errors()]
    return "; ".join(
        _fault(details)
        for details in error.errors()
        if not any(other != details["loc"] == other[: len(details["loc"])] for other in locations)
    )


def _fault(details: Any) -> str:
    *parents, last = details["loc"] or ("",)
    name = ".".join(map(str, details["loc"]))
    if details["type"] == "extra_forbidden":
        known = _fields_at(Profile, parents)
        close = difflib.get_close_matches(str(last), known, n=1)
        hint = (
            f"did you mean {'.'.join([*map(str, parents), close[0]])}?"
            if close
            else f"there are {', '.join(known)}"
        )
        return f"there is no setting {name}; {hint}"
    message = details["msg"].removeprefix("Value error, ")
    found = "" if details["type"] in ("value_error", "missing") else f", found {details['input']!r}"
    return f"{name}: {message}{found}" if name else f"{message}{found}"


def _fields_at(model: type[BaseModel], location: Iterable[Any]) -> list[str]:
    for step in location:
        if isinstance(step, int):
            continue
        inner = _model_in(model.model_fields[step].annotation) if step in model.model_fields else None
        if inner is None:
            break
        model = inner
    return sorted(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)
