"""The steps of a run, one file each: what it takes, reads and writes, and the library it calls.

`pipeline` has their order, `programs` what a user calls.
"""
