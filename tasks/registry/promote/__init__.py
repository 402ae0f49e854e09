"""Registering a model, and deciding whether it becomes the champion."""
