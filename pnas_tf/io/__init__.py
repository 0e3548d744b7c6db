"""Bytes and files from anywhere.

Whole-or-absent writing, JSON records, and a child process that reads what others made.
"""
