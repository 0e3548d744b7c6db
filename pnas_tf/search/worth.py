"""What each choice of a space is worth by the effect model, beside what it costs on each device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pnas_tf.io import Json
from pnas_tf.search.effects import Effects
from pnas_tf.search.quantities import latency_quantity, macs_quantity, parameters_quantity
from pnas_tf.space.base import SearchSpace

if TYPE_CHECKING:
    from pnas_tf.latency.table import LatencyTable


def worth_of_choices(
    space: SearchSpace, effects: Effects, tables: Mapping[str, LatencyTable]
) -> list[dict[str, Json]]:
    """A row for each candidate of each block: what it is worth and what it costs.

    Args:
        space: that the effects are of.
        effects: the model; "effect" is cross-entropy in nats, less is better.
        tables: device -> its latencies, calibrated.
    """
    costs = {name: latency_quantity(space, table) for name, table in tables.items()}
    macs, parameters = macs_quantity(space), parameters_quantity(space)
    rows: list[dict[str, Json]] = []
    for choice, block in zip(space.choice_blocks, effects.blocks, strict=True):
        for place, (op, effect) in enumerate(zip(choice.candidates, block, strict=True)):
            latency = {
                name: float(quantity.slope * quantity.choices[choice.index][place])
                for name, quantity in costs.items()
            }
            rows.append(
                {
                    "block": choice.name,
                    "op": op.key,
                    "effect": effect,
                    "latency_ms": latency,
                    "macs": int(macs.choices[choice.index][place]),
                    "parameters": int(parameters.choices[choice.index][place]),
                }
            )
    return rows
