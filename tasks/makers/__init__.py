"""Rows that are made on this machine, without a network: a module for each set of them."""
