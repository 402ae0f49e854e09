"""Settings as a person writes them, in full: a text that stands for a download, a path that is relative."""

from pathlib import Path
from typing import Any

from tasks.config import source_from_text

DOWNLOADS = ("corpus", "instructions", "labelled", "vocabulary")
NAMES_OR_FOLDERS = (("base", "model"), ("pretrain", "model"), ("tokenize", "name"))  # ./ makes it a folder


def spell_out(raw: dict[str, Any], folder: Path) -> None:
    """Write downloads that are a single string in full, and anchor relative paths to the profile's folder.

    Paths are then right wherever the command is started, and `--set corpus.timeout=5` keeps the path.
    """
    synthesize = raw.get("synthesize") if isinstance(raw.get("synthesize"), dict) else {}
    if synthesize.get("prompt"):
        synthesize["prompt"] = str(folder / str(synthesize["prompt"]))
    benchmark = raw.get("benchmark") if isinstance(raw.get("benchmark"), dict) else {}
    nested = ((synthesize, "given"), (benchmark, "questions"))
    for holder, name in [*((raw, name) for name in DOWNLOADS), *nested]:
        if isinstance(holder.get(name), str):
            holder[name] = {"sources": [source_from_text(holder[name])]}
        sources = holder[name].get("sources") if isinstance(holder.get(name), dict) else None
        for source in sources if isinstance(sources, list) else ():
            if isinstance(source, dict) and source.get("path"):
                source["path"] = str(folder / str(source["path"]))
    if isinstance(raw.get("base"), str):
        raw["base"] = {"model": raw["base"]}
    for stage, setting in NAMES_OR_FOLDERS:
        settings = raw.get(stage)
        if isinstance(settings, dict) and str(settings.get(setting)).startswith(("./", "../")):
            settings[setting] = str(folder / settings[setting])
