"""Digests of the folders that settings name, for the keys of their stages. Nothing heavy is imported here."""

from pathlib import Path

from tasks.config import PreflightConfig, PretrainConfig, TokenizeConfig
from tasks.record.manifest import sha256_of_tree


def of_tokenizer(config: TokenizeConfig) -> dict[str, str]:
    return _of_folder("tokenizer", config.name)


def of_model(config: PretrainConfig) -> dict[str, str]:
    return _of_folder("model", config.model)


def of_preflight(config: PreflightConfig) -> dict[str, str]:
    return of_model(config.pretrain)


def _of_folder(what: str, name: str | None) -> dict[str, str]:
    """Nothing for a name of the hub, which its commit fixes."""
    return {what: sha256_of_tree(Path(name))} if name and Path(name).is_dir() else {}
