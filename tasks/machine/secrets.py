"""Secrets in the environment, and texts without them."""

import os
import re
from urllib.parse import unquote, urlsplit

from tasks.machine.home import without_password

SECRETS = ("HF_TOKEN", "OPENAI_API_KEY")  # what stages may need; Prefect may hold these in Secret blocks
NAMES = re.compile(r"(TOKEN|PASSWORD|SECRET|CREDENTIAL|AUTH)S?(_|$)|(^|_)KEYS?(_|$)", re.IGNORECASE)
SHORTEST = 6  # characters; anything shorter is too likely to be found by chance


def redacted(text: str) -> str:
    """A text in which no value of a secret variable stands, and no password of an address.

    Servers quote the key that they refuse, and database drivers the address that they were given.
    """
    for value in sorted(_values(), key=len, reverse=True):
        text = text.replace(value, "***")
    return without_password(text)


def _values() -> set[str]:
    found = set()
    for name, value in os.environ.items():
        if NAMES.search(name):
            found.add(value)
        elif "://" in value and (password := _password(value)):
            found |= {password, unquote(password)}
    return {value for value in found if len(value) >= SHORTEST}


def _password(address: str) -> str | None:
    try:
        return urlsplit(address).password
    except ValueError:  # an address that nobody can read
        return None
