"""Judging outside a pipeline: audits, files of responses, comparisons."""
