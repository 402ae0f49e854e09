"""Preflight: checks that data, labels, masks and model are right, before a GPU-hour is spent on them."""

import logging
from collections.abc import Callable
from typing import Literal

from tasks.preflight.document import document
from tasks.preflight.report import FILE, Report, refuse
from tasks.record.stage import StageRun
from tasks.show.markdown import as_markdown

log = logging.getLogger(__name__)


def require(run: StageRun, mode: Literal["refuse", "warn"], check: Callable[[], Report]) -> Report:
    """Check before the first step, show what was found, and keep it as `preflight.json` in the output.

    A later attempt at the same key reads what this one found. Raises RefusedError naming all that
    failed, unless the mode is only to warn of it.
    """
    kept = Report.find(run.checkpoint)
    report = kept or check()
    failed = len(report.failed)
    run.log_metrics({"checks": len(report.results), "checks_failed": failed})
    run.log_table(report.rows(), FILE)
    run.log_page("preflight", as_markdown(document(report.as_json())), f"Preflight: {report.verdict}")
    refuse(report, mode)
    if failed:
        log.warning("preflight: %d checks failed; training goes on because preflight is warn", failed)
    for result in report.warnings:
        run.say(f"{result.check} ({result.where}): {result.found}. Expected: {result.expected}")
    if kept is None:
        report.write(run.checkpoint)
    report.write(run.out)
    return report
