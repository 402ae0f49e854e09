"""This machine, and what is outside of it: files, locks, devices, memory, proxies, secrets."""
