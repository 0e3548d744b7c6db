"""What a reader of measured figures must be told of single ones: that they are partly another
device's, not measured themselves, or unstable. Knows nothing of tables."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from pnas_tf.devices.record import Measurement
from pnas_tf.errors import number_of

MAX_AGE_DAYS = 90  # a device's software rarely stays the same for longer
NOISE_PERCENT = 5.0  # from here on a comparison proves nothing
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
    if noise_percent is not None and noise_percent >= NOISE_PERCENT:
        found.append(
            f"noisy: halves of the session differ by {noise_percent:.1f} %; measure again on a "
            "quieter device"
        )
    return found


def noisier(one: float | None, other: float | None) -> float | None:
    """The noise of two sessions' figures together, in percent; None: nobody knows."""
    return max((each for each in (one, other) if each is not None), default=None)


@dataclass(frozen=True)
class Doubt:
    """meaning: for the reader, in one line. details: the single figures that it is about, where
    there are such."""

    meaning: str
    details: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The details, else what it means."""
        return self.details or (self.meaning,)


def doubts_of(entries: Mapping[str, Measurement]) -> list[Doubt]:
    """Mixtures first, then what is unstable. Entries of which the same is true share a line, since
    a state of the device may be true of all."""
    mixed: dict[str, list[str]] = {}
    unstable: dict[str, list[str]] = {}
    for name, entry in entries.items():
        for words in (entry.partly, entry.estimated):
            if words:
                mixed.setdefault(words, []).append(name)
        if entry.problems:
            unstable.setdefault("; ".join(entry.problems), []).append(name)
    found = [Doubt(f"{_named(names)}: {words}") for words, names in mixed.items()]
    if unstable:
        count = sum(map(len, unstable.values()))
        found.append(
            Doubt(
                f"the device was busy or hot: {count} of "
                f"{number_of(len(entries), 'measured time')} {'is' if count == 1 else 'are'} "
                "unstable; where latency matters, measure again on a quiet device",
                tuple(f"unstable: {_named(names)}: {words}" for words, names in unstable.items()),
            )
        )
    return found


def _named(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"'{names[0]}'{more}"
