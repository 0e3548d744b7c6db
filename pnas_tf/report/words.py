"""Devices and names from anywhere as words on one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pnas_tf.errors import is_shown
from pnas_tf.io import Json

ABSENT = "–"
_NAMED = (
    "cores",
    "threads",
    "serial",
    "build",
    "device",
    "settings",
    "partial_delegation",
    "binary_sha256",
)  # fields whose values say nothing alone


def device_words(device: Json) -> str:
    """A device as summary.json has it, in words: "host, a laptop, a CPU, cores 0; LiteRT, 2.3.0,
    xnnpack, threads 1".

    A string stays as it is; of an object the filled fields are named where their values alone would
    say nothing.
    """
    if isinstance(device, Mapping):
        plain = {key: value for key, value in device.items() if not isinstance(value, Mapping)}
        parts = [
            ", ".join(
                f"{key} {_words(value)}" if key in _NAMED else _words(value)
                for key, value in plain.items()
                if value not in (None, "", [], {})
            )
        ]
        parts += [device_words(value) for value in device.values() if isinstance(value, Mapping)]
        return "; ".join(part for part in parts if part and part != ABSENT) or ABSENT
    return one_line(str(device)) if device else ABSENT


def _words(value: Json) -> str:
    return one_line(
        " ".join(map(str, value))
        if isinstance(value, Sequence) and not isinstance(value, str)
        else str(value)
    )


def one_line(text: str) -> str:
    """Without control characters: names come from devices and folders, and a terminal obeys what it
    is sent."""
    return "".join(sign if is_shown(sign) else " " for sign in text)
