"""Options of the command line that do nothing beside the others are refused."""

import dataclasses
import json

import pytest
from option_values import another_value

from pnas_tf import config
from pnas_tf.errors import UserError
from pnas_tf.run.settings import Configs
from pnas_tf.steps.requests import check_heeded, check_requests
from pnas_tf.steps.specialise_requests import requests_of

KINDS = [kind for kind in vars(config).values() if dataclasses.is_dataclass(kind)]
BOUND = [
    (kind, field) for kind in KINDS for field in dataclasses.fields(kind) if field.metadata["only"]
]


def doing_something(kind, name):
    """Values of other options beside which an option does something."""
    values = {}
    fields = {each.name: each for each in dataclasses.fields(kind)}
    for only in fields[name].metadata["only"][:1]:
        other = fields[only.name]
        given = only.values[0] if only.values else another_value(kind(), only.name)
        values = {**doing_something(kind, only.name), only.name: given}
        if not only.given:
            values[only.name] = other.default
    return values


def heeded(usual, now):
    check_heeded(Configs([now]), Configs([usual]))


@pytest.mark.parametrize(
    "kind, field", [pytest.param(*each, id=f"--{each[1].name}") for each in BOUND]
)
def test_an_option_is_taken_beside_what_it_is_for_and_refused_without(kind, field):
    value = another_value(kind(), field.name)
    fields = {each.name: each for each in dataclasses.fields(kind)}
    usual = kind(**doing_something(kind, field.name))
    heeded(usual, dataclasses.replace(usual, **{field.name: value}))
    without = {}
    for only in field.metadata["only"]:
        other = fields[only.name]
        nothing = type(other.default)()
        choices = other.metadata["choices"] or (
            other.default,
            another_value(kind(), only.name),
            nothing,
        )
        assert set(only.values) <= set(choices)
        for choice in choices:
            usual = kind(**doing_something(kind, only.name) | {only.name: choice})
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


def test_an_option_of_one_that_does_nothing_does_nothing():
    usual = config.SearchConfig(rl_reward="power")  # kept in a run folder, of another call
    with pytest.raises(UserError, match="--rl_exponent"):
        heeded(usual, dataclasses.replace(usual, rl_exponent=0.2))
    usual = dataclasses.replace(usual, algorithm="reinforce")
    heeded(usual, dataclasses.replace(usual, rl_exponent=0.2))


def test_its_help_says_so():
    (sampling,) = (
        each for each in dataclasses.fields(config.SearchConfig) if each.name == "sampling"
    )
    assert sampling.metadata["help"].endswith(" Only with --algorithm=one_shot.")


@pytest.mark.parametrize(
    "configs, words",
    [
        ([config.CalibrateConfig(blocks=3)], "--blocks=3"),
        ([config.ExportConfig(quantize="qat", formats=("float32",))], "--quantize=qat"),
        (
            [
                config.ArchitectureConfig("proxyless_mobile"),
                config.PretrainedConfig("some.h5"),
                config.TrainConfig(init="scratch"),
            ],
            "--init=scratch",
        ),
    ],
)
def test_options_that_contradict_one_another_are_refused(monkeypatch, configs, words):
    monkeypatch.setattr("pnas_tf.interop.pretrained_files.find_pretrained", str)
    with pytest.raises(UserError, match=words):
        check_requests(Configs(configs))


def test_limits_of_the_command_line_hold_beside_those_of_each_row(tmp_path):
    def asked(row, **limits):
        (tmp_path / "rows.json").write_text(json.dumps([{"name": "a", **row}]))
        asks = config.SpecialiseConfig(out="made", budgets=str(tmp_path / "rows.json"))
        return requests_of(asks, config.DeriveConfig(**limits))[0].derive

    assert asked({"max_macs": 3e6}, max_macs=2e6, max_ram_kb=9.0) == config.DeriveConfig(
        max_macs=2e6, max_ram_kb=9.0
    )
    assert asked({"max_macs": 1e6}, max_macs=2e6).max_macs == 1e6
    row = {"max_size_kb": 300.0}
    assert asked(row, size_dtype="float32").size_dtype == "float32"
    assert asked({**row, "size_dtype": "float32"}).size_dtype == "float32"
    with pytest.raises(UserError, match=r"size_dtype of .* beside --max_size_kb=200"):
        asked({"max_macs": 1e6, "size_dtype": "float32"}, max_size_kb=200.0)
