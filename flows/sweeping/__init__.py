"""Trials of a profile's settings, chosen by validation; then the chosen one, whole."""
