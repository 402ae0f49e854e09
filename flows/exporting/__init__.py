"""A model as files that other programs read: in a pipeline, or by itself."""
