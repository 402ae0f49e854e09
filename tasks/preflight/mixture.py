"""The check of a mixture: how much is read of each source, and how often."""

from tasks.batches.mixtures import Mixed, SourceRead, sources_read
from tasks.config import PretrainConfig
from tasks.data.token_files import TokenFiles
from tasks.preflight.report import CheckResult

EPOCHS = 4  # up to which text that is repeated is worth about as much as new text
STUDY = "Muennighoff et al. 2023"


def mixture_as_asked(config: PretrainConfig, files: TokenFiles, planned: Mixed) -> CheckResult:
    """What a training reads of each source; `planned` stands at its end.

    A warning where a source is read more often than `EPOCHS`; whether that is worth it depends on what else
    there is, and only the loss tells.
    """
    name, expected = "mixture of sources", f"no source is read more than {EPOCHS} times ({STUDY})"
    read = sources_read(config, files, planned)
    found = "; ".join(map(_told, read))
    repeated = [own.source for own in read if own.epochs > EPOCHS]
    if repeated:
        return CheckResult(name, "warning", found, expected, ", ".join(repeated))
    return CheckResult(name, "passed", found, expected)


def _told(own: SourceRead) -> str:
    """`alice 19.8% of the tokens, read 2.31 times`."""
    return f"{own.source} {own.share_read:.1%} of the tokens, its {own.tokens:,} read {own.epochs:.2f} times"
