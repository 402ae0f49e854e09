"""An export in a model repository of the Hugging Face hub, or of what HF_ENDPOINT names."""

import os
from pathlib import Path

from tasks.errors import StageError, UsageError
from tasks.machine.home import without_password
from tasks.machine.proxies import HUB, require_way_to_hub
from tasks.machine.secrets import redacted


def token_of() -> str:
    """What the hub is written to with: HF_TOKEN, and for the hub itself what `hf auth login` stored.

    A stored token would else go to whatever HF_ENDPOINT names. Raises UsageError where there is none.
    """
    from huggingface_hub import get_token

    endpoint = _endpoint()
    token = os.environ.get("HF_TOKEN") or (get_token() if endpoint == HUB else None)
    if not token:
        raise UsageError(
            f"--push needs a token that may write to {without_password(endpoint)}: set HF_TOKEN"
            + (", or run `hf auth login`" if endpoint == HUB else "")
        )
    return token


def push(repository: str, files: Path, message: str, *, private: bool) -> str:
    """Upload a folder to a repository, which is created where there is none; its address.

    Raises StageError when the hub does not take it.
    """
    from huggingface_hub import HfApi

    require_way_to_hub()
    endpoint = _endpoint()
    token = token_of()
    api = HfApi(endpoint=endpoint, token=token)
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=files, commit_message=message)
    except Exception as error:  # of huggingface_hub, httpx: each has its own
        reason = redacted(str(error).replace(token, "***")).strip().splitlines()
        no_xet = (
            "" if "xet" not in str(error).lower() else ", or set HF_HUB_DISABLE_XET=1 for one without Xet"
        )
        raise StageError(
            f"{repository} could not be pushed to {without_password(endpoint)}: {type(error).__name__}: "
            f"{reason[0] if reason else ''}. Check the name, and that the token may write to it"
            f"{no_xet}"
        ) from error
    return f"{without_password(endpoint)}/{repository} at {commit.oid[:12]}"


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
