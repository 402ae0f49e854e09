"""Responses of one model to rows of anyone's, outside a pipeline."""
