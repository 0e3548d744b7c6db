"""One file a step of a run.

What it takes, reads and writes. Each calls the library and writes one result.
"""
