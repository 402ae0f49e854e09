"""Writes the locks that installing reads: `make lock`. It needs a package index.

A lock pins every package of one purpose, with the hash of each of its files, for every Python and system
that the project runs on. torch is not in it: one version of it comes in several builds, for CPUs and for
each CUDA, and each build brings its own packages of NVIDIA's. `pyproject.toml` names the exact version.
"""

import re
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
BASE = "constraints.txt"
LOCKS = {
    BASE: ["postgres"],
    "tests/constraints.txt": ["postgres", "test"],
    "deployments/kubernetes/constraints.txt": ["kubernetes", "postgres"],
}
"""Each lock with the extras that it is for; what stands in the base lock is not repeated in the others."""

WITH_TORCH = re.compile(r"(torch|triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==")
HEAD = "# Written by `make lock`: all packages with their hashes, but torch.\n"


def pins(text: str) -> dict[str, str]:
    """The entries of a lock by the package's name and marker; an entry goes on over lines of hashes."""
    entries = re.findall(r"^[a-zA-Z0-9].*(?:\n    .*)*", text, flags=re.MULTILINE)
    return {entry.split(" \\\n")[0]: entry for entry in entries}


def compiled(extras: list[str], constraint: Path | None) -> dict[str, str]:
    """What uv resolves the project with these extras to. Raises CalledProcessError with uv's own message."""
    command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet"]
    command += ["--universal", "--python-version", "3.11", "--upgrade", "pyproject.toml"]
    command += ["--generate-hashes", "--no-annotate", "--no-header"]
    for extra in extras:
        command += ["--extra", extra]
    if constraint:
        command += ["--constraint", str(constraint)]
    return pins(subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    base: dict[str, str] = {}
    for name, extras in LOCKS.items():
        found = compiled(extras, CHECKOUT / BASE if base else None)
        kept = {pin: entry for pin, entry in found.items() if not WITH_TORCH.match(pin) and pin not in base}
        (CHECKOUT / name).write_text(HEAD + "\n".join(kept.values()) + "\n", encoding="utf-8")
        base = base or kept


if __name__ == "__main__":
    main()
