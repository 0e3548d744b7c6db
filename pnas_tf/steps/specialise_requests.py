"""What `pnas specialise` is asked for: one network, or one for each row of a file, and each one's
limits. Knows no run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pnas_tf.config import DeriveConfig, SearchConfig, SpecialiseConfig
from pnas_tf.errors import UserError, is_shown, named
from pnas_tf.io import atomic
from pnas_tf.io.serialization import value_of
from pnas_tf.latency.table import LatencyTable
from pnas_tf.options import check_heeded

_LIMITS = ("max_latency_ms", "max_size_kb", "max_ram_kb", "max_macs", "max_parameters")


@dataclass(frozen=True)
class Request:
    """One network. table: of the device; "": the run's own. derive: with its budgets. where: the
    row that asks for it; "": the command line. also: limits on further devices, besides those of
    the command line."""

    out: Path
    table: str
    derive: DeriveConfig
    where: str = ""
    also: tuple[str, ...] = ()

    def of(self, search: SearchConfig) -> SearchConfig:
        """The options of the search with those limits."""
        return dataclasses.replace(search, also=(*search.also, *self.also))


def requests_of(config: SpecialiseConfig, derive: DeriveConfig) -> list[Request]:
    """What the options ask for.

    Raises:
        UserError: no --out, no budget, or --budgets is no list of budgets.
    """
    if not config.out:
        raise UserError(
            "pnas specialise without --out",
            expected="a folder for what is made",
            received="none",
            fix="Add e.g. --out=runs/small",
        )
    if not config.budgets:
        return [_checked(Request(Path(config.out), config.table, derive), "pnas specialise")]
    where, fix = f"--budgets={config.budgets}", "See pnas specialise --help."
    document = atomic.read_json(
        Path(config.budgets), what="budgets", made_by="see pnas specialise --help"
    )
    rows = value_of(list[dict[str, object]], document, what=where, fix=fix)
    requests = []
    for number, row in enumerate(rows):
        place = f"{where}, number {number + 1}"
        known: dict[str, type] = {"name": str, "table": str, "also": list[str], "size_dtype": str}
        known |= dict.fromkeys(_LIMITS, float)
        unknown = set(row) - set(known)
        if unknown or "name" not in row:
            raise UserError(
                place,
                expected=f'an object with "name" and some of {", ".join(list(known)[1:])}',
                received=str(row)[:200],
                fix=fix,
            )
        values: dict[str, object] = {
            key: value_of(known[key], value, what=f"{key} of {place}", fix=fix)
            for key, value in row.items()
        }
        name, table = str(values.pop("name")), str(values.pop("table", config.table))
        also = tuple(cast(list[str], values.pop("also", [])))
        _check_name(name, place)
        place = f"{name!r} of {where}"
        with named(place):
            own = _both(derive, values, place)
            request = Request(Path(config.out) / name, table, own, place, also)
            requests.append(_checked(request, place))
    if len({request.out for request in requests}) < len(requests) or not requests:
        names = [request.out.name for request in requests]
        raise UserError(where, expected="names, all different", received=str(names), fix=fix)
    return requests


def _check_name(name: str, place: str) -> None:
    """Raises UserError where a row's folder would not lie right below --out, be hidden there, or
    take the place of the front's files."""
    if (
        not name
        or name != Path(name).name
        or name.startswith(".")
        or name.endswith((".json", ".png"))
        or not all(map(is_shown, name))
    ):
        raise UserError(
            f"name of {place}",
            expected="that of a folder right below --out: no path, no . before it, and no .json or "
            ".png behind it, as the front's files have",
            received=repr(name),
            fix='Write e.g. "name": "phone_12".',
        )


def _both(derive: DeriveConfig, row: Mapping[str, object], place: str) -> DeriveConfig:
    """The limits of the command line and of a row of --budgets together. Raises UserError where
    they are of two kinds of files, or size_dtype is of none."""
    dtype = row.get("size_dtype", derive.size_dtype)
    if derive.max_size_kb is not None and dtype != derive.size_dtype:
        raise UserError(
            f"size_dtype of {place} beside --max_size_kb={derive.max_size_kb:g}",
            expected=f"{derive.size_dtype}, which that limit is of",
            received=str(dtype),
            fix="Leave size_dtype out, or write max_size_kb into each row.",
        )
    held = {name: value for name in _LIMITS if (value := getattr(derive, name)) is not None}
    least = {name: min(held[name], row[name]) for name in held.keys() & row.keys()}
    both = dataclasses.replace(derive, **{**row, **least})
    check_heeded(both, derive)
    return both


def _checked(request: Request, where: str) -> Request:
    from pnas_tf.search.budgets import Budget, check_budgets
    from pnas_tf.search.targets import check_request

    asked = {name: getattr(request.derive, name) for name in _LIMITS}
    limited = any(value is not None for value in asked.values()) or request.also
    if not request.table and not limited:
        raise UserError(
            where,
            expected=f"--table, or one of {', '.join(f'--{name}' for name in _LIMITS)}",
            received="neither another device nor a budget",
            fix="Add e.g. --max_latency_ms=12",
        )
    for name, value in asked.items():
        if value is not None:
            Budget(name.removeprefix("max_"), float(value))
    check_budgets(request.derive)
    check_request(SearchConfig(also=request.also))
    if request.table:
        LatencyTable.load(request.table)
    return request
