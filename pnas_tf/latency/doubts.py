"""What a reader of measured figures must be told of single ones: that they are partly another
device's, not measured themselves, or unstable. Knows nothing of tables."""

from __future__ import annotations

import time
from collections.abc import Mapping

from pnas_tf.devices.record import Measurement

MAX_AGE_DAYS = 90  # a device's software rarely stays the same for longer
MAX_NOISE_PERCENT = 5.0
_DAY_S = 86_400.0


def doubts_of_session(
    created_unix_s: float, noise_percent: float | None, now_unix_s: float | None
) -> list[str]:
    """That figures are old, or of a session whose halves do not agree.

    Args:
        created_unix_s: when they were measured; 0: nobody knows.
        noise_percent: by how much halves of the session differ; None: nobody knows.
        now_unix_s: None: now.
    """
    found = []
    now_s = time.time() if now_unix_s is None else now_unix_s
    age_days = (now_s - created_unix_s) / _DAY_S
    if created_unix_s and age_days > MAX_AGE_DAYS:
        found.append(f"stale: built {age_days:.0f} days ago")
    if noise_percent is not None and noise_percent > MAX_NOISE_PERCENT:
        found.append(
            f"noisy: halves of the session differ by {noise_percent:.1f} %; measure again on a "
            "quieter device"
        )
    return found


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
