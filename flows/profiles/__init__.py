"""Profiles: one YAML file each, with overrides."""
