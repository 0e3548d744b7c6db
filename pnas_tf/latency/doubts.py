"""What a reader of measured figures must be told of single ones: that they are partly another
device's, not measured themselves, or unstable. Knows nothing of tables."""

from __future__ import annotations

from collections.abc import Mapping

from pnas_tf.devices.record import Measurement


def doubts_of(entries: Mapping[str, Measurement]) -> list[str]:
    """One line for each doubt, mixtures first. Entries of which the same is true share one, since a
    state of the device may be true of all."""
    mixed: dict[str, list[str]] = {}
    unstable: dict[str, list[str]] = {}
    for name, entry in entries.items():
        for words in (entry.partly, entry.estimated):
            if words:
                mixed.setdefault(words, []).append(name)
        if entry.problems:
            unstable.setdefault("; ".join(entry.problems), []).append(name)
    return [
        *(f"{_named(names)}: {words}" for words, names in mixed.items()),
        *(f"unstable: {_named(names)}: {words}" for words, names in unstable.items()),
    ]


def _named(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"'{names[0]}'{more}"
