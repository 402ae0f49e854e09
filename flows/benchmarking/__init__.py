"""Models asked the tasks of a benchmark: in a pipeline, or by themselves."""
