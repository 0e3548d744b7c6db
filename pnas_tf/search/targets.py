"""The targets of a search: what it shall reach besides a small loss, on one device or several.

From what the user asks for, checked against what the space can do on the device. Knows tables and
spaces, nothing of how the search reaches a target; `objective` says that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pnas_tf.config import SearchConfig
from pnas_tf.errors import UserError
from pnas_tf.latency.table import LatencyTable
from pnas_tf.search.quantities import (
    Quantity,
    latency_quantity,
    macs_quantity,
    no_less,
    no_more,
    parameters_quantity,
)
from pnas_tf.space.base import SearchSpace

AUTO = "auto"


@dataclass(frozen=True)
class Target:
    """A quantity and the value it shall have, in the quantity's unit. One for each device."""

    quantity: Quantity
    value: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value > 0):
            raise UserError(
                f"target of {self.quantity.name}",
                expected=f"a positive number of {self.quantity.unit}",
                received=repr(self.value),
                fix="Give a target above 0.",
            )


def latency_target(space: SearchSpace, table: LatencyTable, target_latency_ms: str) -> Target:
    """The target on the search's device. target_latency_ms: a number of ms, or "auto", the middle
    of what the space can do there.

    Raises UserError when the table lacks blocks of the space, the text is no number, or no network
    can take so long or so short, saying what the fastest and the slowest take.
    """
    table.check_covers(space)
    return _target(latency_quantity(space, table), target_latency_ms, flag="--target_latency_ms")


def search_targets(space: SearchSpace, table: LatencyTable, config: SearchConfig) -> list[Target]:
    """All targets of a search, the one it is named for first: of `config.objective`, then of
    `config.also`."""
    if config.objective == "latency":
        first = latency_target(space, table, config.target_latency_ms)
    else:
        quantity = (
            macs_quantity(space) if config.objective == "macs" else parameters_quantity(space)
        )
        first = _target(
            quantity,
            AUTO if config.target_value is None else str(config.target_value),
            flag="--target_value",
        )
    return [first, *_other_devices(space, config.also)]


def latency_budget(
    space: SearchSpace, table: LatencyTable, milliseconds: float, *, flag: str
) -> Target:
    """At most so many ms, for deriving. Raises UserError when even the fastest network of the space
    takes longer."""
    table.check_covers(space)
    quantity = latency_quantity(space, table)
    least, most = quantity.range
    if not least <= milliseconds < math.inf:
        raise UserError(
            f"{flag} is out of reach",
            expected=f"at least {no_less(least)} ms (fastest network of the space; the slowest "
            f"takes {most:.4g} ms)",
            received=f"{milliseconds:.6g} ms",
            fix=_in_seconds(milliseconds, quantity, flag)
            or "Raise it, or choose another --space, --width or --resolution.",
        )
    return Target(quantity, milliseconds)


def check_request(config: SearchConfig) -> None:
    """Refuses, before there is a table, targets that suit no space: what is no number, lists that
    are not well formed, and a latency beside a target in another unit."""
    if (config.algorithm, config.rl_latency) == (
        "reinforce",
        "device",
    ) and config.objective != "latency":
        raise UserError(
            f"--rl_latency=device with --objective={config.objective}",
            expected="a target in ms, which the device's ms are compared with",
            received=f"a target in {config.objective}",
            fix="Use --rl_latency=table, or --objective=latency.",
        )
    if config.target_latency_ms != AUTO:
        if config.objective != "latency":
            raise UserError(
                f"--target_latency_ms with --objective={config.objective}",
                expected="--target_value, in that unit",
                received=f"{config.target_latency_ms} ms",
                fix="Leave it out; --max_latency_ms holds the derived network to a latency.",
            )
        _number(config.target_latency_ms, flag="--target_latency_ms", unit="ms")
    for pair in config.also:
        path, milliseconds = _pair(pair)
        LatencyTable.load(path)
        if milliseconds != AUTO:
            _number(milliseconds, flag="--also", unit="ms")


def table_files(also: Sequence[str]) -> list[str]:
    """The tables that --also names."""
    return [_pair(text)[0] for text in also]


def _pair(text: str) -> tuple[str, str]:
    path, separator, milliseconds = text.rpartition("=")
    if not separator:
        raise UserError(
            "--also",
            expected="TABLE.json=MS for each further device",
            received=repr(text),
            fix="Write e.g. --also=pixel.json=40,desktop.json=2.5",
        )
    return path, milliseconds


def _number(text: str, *, flag: str, unit: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(
            flag,
            expected=f"a number of {unit} above 0, or {AUTO}",
            received=repr(text),
            fix=f"Write e.g. {flag}=40",
        )
    return value


def _other_devices(space: SearchSpace, pairs: Sequence[str]) -> list[Target]:
    """What takes no network away is the slowest one's latency, as --max_latency_ms is."""
    targets = []
    for pair in pairs:
        path, milliseconds = _pair(pair)
        table, name = LatencyTable.load(path), f"latency by {path}"
        table.check_covers(space, given=f"--also={path}")
        quantity = latency_quantity(space, table, name=name)
        slowest = quantity.range[1]
        if milliseconds != AUTO and _number(milliseconds, flag="--also", unit="ms") > slowest:
            milliseconds = repr(float(slowest))
        targets.append(_target(quantity, milliseconds, flag=f"--also={path}"))
    return targets


def _target(quantity: Quantity, text: str, *, flag: str) -> Target:
    least, most = quantity.range
    if text == AUTO:
        return Target(quantity, (least + most) / 2)
    value = _number(text, flag=flag, unit=quantity.unit)
    if not least <= value <= most:
        raise UserError(
            f"{flag} is out of reach",
            expected=f"from {no_less(least)} {quantity.unit} (fastest network of the space) to "
            f"{no_more(most)} {quantity.unit} (slowest)",
            received=f"{value:.6g} {quantity.unit}",
            fix=_in_seconds(value, quantity, flag)
            or f"Choose a target between the two, e.g. {flag}={no_more((least + most) / 2)}, or "
            "another --space, --width or --resolution.",
        )
    return Target(quantity, value)


def _in_seconds(value: float, quantity: Quantity, flag: str) -> str:
    """What to write where `value` would be a latency of the space if it were seconds; else ""."""
    least, most = quantity.range
    is_second = quantity.unit == "ms" and least <= 1000 * value <= most
    return f"It is in milliseconds, not seconds: write {flag}={1000 * value:.4g}" * is_second
