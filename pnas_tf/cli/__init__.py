"""Flags made of config dataclasses, and the programs `pnas NAME` and tools/NAME.py."""
