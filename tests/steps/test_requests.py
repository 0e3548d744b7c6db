"""Options of the command line that do nothing beside the others are refused."""

import dataclasses

import pytest

from pnas_tf import config
from pnas_tf.errors import UserError
from pnas_tf.run.settings import Configs
from pnas_tf.steps.requests import check_heeded

KINDS = [kind for kind in vars(config).values() if dataclasses.is_dataclass(kind)]
BOUND = [
    (kind, field) for kind in KINDS for field in dataclasses.fields(kind) if field.metadata["only"]
]


def another(field):
    """A value that is not the option's default."""
    choices = field.metadata["choices"]
    if choices:
        return next(each for each in choices if each != field.default)
    if isinstance(field.default, (bool, type(None))):
        return not field.default
    return field.default + (("x",) if field.default == () else type(field.default)(1))


def heeded(usual, now):
    check_heeded(Configs([now]), Configs([usual]))


@pytest.mark.parametrize(
    "kind, field", [pytest.param(*each, id=f"--{each[1].name}") for each in BOUND]
)
def test_an_option_is_taken_beside_what_it_is_for_and_refused_without(kind, field):
    value, fields = another(field), {each.name: each for each in dataclasses.fields(kind)}
    without = {}
    for only in field.metadata["only"]:
        other = fields[only.name]
        choices = other.metadata["choices"] or (other.default, another(other))
        assert set(only.values) <= set(choices)
        for choice in choices:
            usual = kind(**{only.name: choice})
            if only.holds(usual):
                heeded(usual, dataclasses.replace(usual, **{field.name: value}))
            else:
                without[only.name] = choice
    usual = kind(**without)
    heeded(usual, usual)  # what a run folder holds was looked at when it was given
    with pytest.raises(UserError, match=f"--{field.name}=") as refused:
        heeded(usual, dataclasses.replace(usual, **{field.name: value}))
    for only in field.metadata["only"]:
        assert str(only) in refused.value.expected and only.name in refused.value.received


def test_its_help_says_so():
    (sampling,) = (
        each for each in dataclasses.fields(config.SearchConfig) if each.name == "sampling"
    )
    assert sampling.metadata["help"].endswith(" Only with --algorithm=one_shot.")
