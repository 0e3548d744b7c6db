"""benchmarks/search_digits: what it gives to which program, and what it reads of one."""

import dataclasses

import pytest

from benchmarks.search_digits import VARIANTS, _target, flags_of_search, flags_of_table
from pnas_tf.config import SearchConfig
from pnas_tf.run.settings import Configs
from pnas_tf.steps.programs import PROGRAMS
from pnas_tf.steps.requests import check_heeded

FLAGS = ["--space=tiny", "--threads=1", "--model_cache=x", "--convert_workers=1"]
FLAGS += ["--calibration_networks=5", "--warmup_epochs=1", "--unknown=1"]


def options_of(command):
    program = next(each for each in PROGRAMS if each.command == command)
    return {field.name for kind in program.configs for field in dataclasses.fields(kind)}


def name(flag):
    return flag.lstrip("-").partition("=")[0]


def test_a_flag_goes_to_the_programs_that_take_it():
    table = {name(flag) for flag in flags_of_table(FLAGS)}
    assert table == {name(flag) for flag in FLAGS[:5]} <= options_of("latency-table")
    shared = ["--space=tiny", "--warmup_epochs=1", "--unknown=1"]
    assert (
        flags_of_search("two_path", FLAGS) == shared
    )  # what nobody knows is refused by the search
    on_device = flags_of_search("reinforce_device", FLAGS)
    assert on_device == ["--space=tiny", "--threads=1", *shared[1:]]
    assert {name(flag) for flag in on_device} - options_of("search") == {"unknown"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_gives_what_its_search_heeds(variant):
    given = dict(flag.lstrip("-").split("=") for flag in VARIANTS[variant])
    check_heeded(Configs([SearchConfig(**given)]), Configs([SearchConfig()]))


def test_the_target_is_read_as_the_search_says_it():
    printed = "space tiny\ntarget of the search: 0.00696 ms (latency)\n"
    assert _target(printed) == 0.00696
