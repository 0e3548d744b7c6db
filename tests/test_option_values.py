"""Options as Python gives them: what no run can use is refused where it is written."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from pnas_tf import config
from pnas_tf.config import DeriveConfig, ExportConfig, RunConfig, SearchConfig, TrainConfig
from pnas_tf.errors import UserError
from pnas_tf.options import Options, options_of

KINDS = [
    kind
    for kind in vars(config).values()
    if isinstance(kind, type) and issubclass(kind, Options) and kind is not Options
]
ALL = [
    pytest.param(kind, option, plain, id=f"{kind.__name__}.{option.name}")
    for kind in KINDS
    for option, plain in options_of(kind)
]


def beyond(option, plain):
    """Values that the option cannot have."""
    least, most = option.metadata["at_least"], option.metadata["at_most"]
    above, below = option.metadata["above"], option.metadata["below"]
    if plain is bool:
        return ["yes", 1]
    if plain is tuple:
        return ["word", (1,), 3]
    if plain is str:
        return [3, True, *(["no such word"] if option.metadata["choices"] else ["two\nlines"])]
    wrong = [least - 1, "3", True, math.nan, *([above] if above >= least else [])]
    return wrong + [most + 1] * (most < math.inf) + [below] * (below < math.inf)


def test_every_class_of_options_is_one():
    assert len(KINDS) > 15
    assert all(
        issubclass(kind, Options)
        for kind in vars(config).values()
        if dataclasses.is_dataclass(kind)
    )


@pytest.mark.parametrize("kind, option, plain", ALL)
def test_what_no_run_can_use_is_refused_by_name(kind, option, plain):
    kind()  # its defaults are usable
    for value in beyond(option, plain):
        with pytest.raises(UserError) as refused:
            kind(**{option.name: value})
        assert refused.value.what == f"--{option.name}" and repr(value) in refused.value.received
        with pytest.raises(UserError):
            dataclasses.replace(kind(), **{option.name: value})


def test_what_python_has_for_a_flag_is_taken():
    assert ExportConfig(formats=["int8"]).formats == ("int8",)
    found = TrainConfig(epochs=np.int64(3), learning_rate=np.float32(0.5))
    assert (found.epochs, found.learning_rate) == (3, 0.5) and type(found.epochs) is int
    double = TrainConfig(learning_rate=np.float64(0.25))  # which is a float too
    assert double.learning_rate == 0.25 and type(double.learning_rate) is float
    assert RunConfig(run_dir=Path("a") / "b").run_dir == "a/b"
    assert DeriveConfig(max_macs=5).max_macs == 5 and DeriveConfig(max_macs=None).max_macs is None


def test_a_word_is_refused_with_those_that_are():
    with pytest.raises(UserError, match="two_path") as refused:
        SearchConfig(algorithm="two-path")
    assert "one of" in refused.value.expected
