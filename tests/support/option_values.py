"""Other values of options, which a run can use."""

from __future__ import annotations

import contextlib

from pnas_tf.errors import UserError
from pnas_tf.options import check_option, options_of


def another_value(config: object, name: str) -> object:
    """A value of one option that `config` has not."""
    option, kind = next(each for each in options_of(type(config)) if each[0].name == name)
    now = getattr(config, name)
    tried: list[object] = list(option.metadata["choices"] or ())
    if kind is bool:
        tried = [not now]
    elif kind in (int, float):
        tried = [kind(each) for each in (64, 3, 2, 1, 0.5, 0.25)]
    elif not tried:
        tried = [(*(now or ()), "2") if kind is tuple else f"{now or ''}other"]
    for value in tried:
        with contextlib.suppress(UserError):
            check_option(option, kind, value)
            if value != now:
                return value
    raise AssertionError(f"no other value of {name}")
