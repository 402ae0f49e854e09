"""Servers, work pools, workers and deployments."""
