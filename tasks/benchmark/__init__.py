"""Benchmarks: a model's accuracy on tasks of lm-eval and on multiple-choice questions of one's own."""
