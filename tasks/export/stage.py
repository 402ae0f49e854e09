"""The stage: a model's files in one format, its model card, and what was found of them."""

from pathlib import Path
from pkgutil import resolve_name

from tasks.config import FORMATS, ExportConfig
from tasks.errors import StageError
from tasks.export.document import as_document
from tasks.export.model_card import model_card
from tasks.export.source import ExportSource
from tasks.machine.digests import sha256_of
from tasks.machine.disk import require_space
from tasks.record.manifest import files_under
from tasks.record.stage import StageRun
from tasks.report.exports import ExportSummary
from tasks.show.html import as_html
from tasks.show.markdown import as_markdown

README, PAGE = "README.md", "export.html"


def export(
    config: ExportConfig,
    run: StageRun,
    *,
    model: Path,
    base: Path | None = None,
    rows: Path | None = None,
    responses: Path | None = None,
    scores: Path | None = None,
    report: Path | None = None,
) -> None:
    """Write `files/`, with a model card, and `export.json`; aside, the page.

    `base` is what kept adapters were trained on; `rows`, `responses` and `scores` let the test rows be
    answered from what was written; `report` is what the model card is made from.

    Raises StageError for a model that the format cannot hold, and for files that are not read back as they
    were written.
    """
    source = ExportSource(config, run, model, base, rows, responses, scores, report)
    if source.summary.classifies and not config.format.classifies:
        able = ", ".join(name for name, form in FORMATS.items() if form.classifies)
        raise StageError(
            f"the model is a classifier, which gives labels: it cannot be exported as {config.to}. Export it "
            f"as {able}"
        )
    if source.is_seq2seq and not config.format.seq2seq:
        able = ", ".join(name for name, form in FORMATS.items() if form.seq2seq)
        raise StageError(
            "the model is an encoder-decoder, which reads a source before it writes: it is not exported as "
            f"{config.to}, which is for models that continue a text. Export it as {able}"
        )
    source.require_base()
    require_space(run.out, 2 * source.size, "the export")
    source.files.mkdir()
    written = resolve_name(config.format.entry)(source)
    listed = {
        name: {"bytes": (source.files / name).stat().st_size, "sha256": sha256_of(source.files / name)}
        for name in files_under(source.files)
    }
    summary = ExportSummary(
        format=config.to,
        name=source.name,
        files=listed,
        checks=[vars(check) for check in written.checks],
        costs=written.costs,
        notes=written.notes,
    )
    (source.files / README).write_text(model_card(source, summary.as_json()), encoding="utf-8")
    summary.write(run.out)
    document = as_document(summary.as_json())
    (run.auxiliary / PAGE).write_text(as_html(document), encoding="utf-8")
    run.log_page("export", as_markdown(document), f"{source.name} as {config.to}")
    for cost in written.costs:
        run.log_metrics(
            {f"{cost['kind']}_difference": cost["difference"], f"{cost['kind']}_mean": cost["mean"]}
        )
    run.progress(len(listed), len(listed), "files", f"{source.name} as {config.to}")
