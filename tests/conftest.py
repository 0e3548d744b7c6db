"""The order of the tests: files of slow ones first.

Files are handed to the workers one by one (`--dist loadfile`), in this order
(`--no-loadscope-reorder`). A file of minutes that began last would leave the other worker idle.
"""

from collections import Counter


def pytest_collection_modifyitems(items):
    """By the share of slow tests of a file; else as they were found."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    every = Counter(item.path for item in items)
    items.sort(key=lambda item: -slow[item.path] / every[item.path])
