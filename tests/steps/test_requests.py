"""Options of the command line that do nothing beside the others are refused."""

import dataclasses
import json
from pathlib import Path

import pytest
from option_values import another_value

from pnas_tf import config
from pnas_tf.cli.flags import define_flags, parse
from pnas_tf.errors import UserError
from pnas_tf.latency.few_shot import MEASURE_BLOCKS
from pnas_tf.options import check_heeded, options_by_name
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.records import StepRecord, write_steps
from pnas_tf.run.settings import Configs
from pnas_tf.steps.calibrate import is_from_few
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.requests import check_requests
from pnas_tf.steps.specialise import CONFIGS, check_specialise
from pnas_tf.steps.specialise_folder import check_elsewhere
from pnas_tf.steps.specialise_requests import requests_of

KINDS = [kind for kind in vars(config).values() if dataclasses.is_dataclass(kind)]
BOUND = [
    (kind, field)
    for kind in KINDS
    for field in dataclasses.fields(kind)
    if field.metadata["only"] or field.metadata["unless"]
]


def doing_something(kind, name):
    """Values of other options beside which an option does something."""
    values = {}
    fields = options_by_name(kind)
    for each in fields[name].metadata["only"][:1]:
        values = {**doing_something(kind, each.name), each.name: meeting(kind, each)}
    for each in fields[name].metadata["unless"]:
        if each.holds(kind(**values)):
            values[each.name] = fields[each.name].default
    return values


def meeting(kind, where):
    """A value of the option of a condition with which it holds."""
    if where.values:
        return where.values[0]
    return where.above + 2 if where.above else another_value(kind(), where.name)


def heeded(usual, now):
    check_heeded(now, usual)


@pytest.mark.parametrize(
    "kind, field", [pytest.param(*each, id=f"--{each[1].name}") for each in BOUND]
)
def around(kind, where):
    """Values of the option of a condition, such that it holds and that it does not."""
    default = options_by_name(kind)[where.name].default
    choices = options_by_name(kind)[where.name].metadata["choices"]
    assert set(where.values) <= set(choices or where.values)
    least = type(default)(where.above) if isinstance(default, int | float) else default
    return choices or (default, meeting(kind, where), least)


@pytest.mark.parametrize(
    "kind, field", [pytest.param(*each, id=f"--{each[1].name}") for each in BOUND]
)
def test_an_option_is_taken_beside_what_it_is_for_and_refused_without(kind, field):
    value = another_value(kind(), field.name)
    usual = kind(**doing_something(kind, field.name))
    heeded(usual, dataclasses.replace(usual, **{field.name: value}))
    only, unless = field.metadata["only"], field.metadata["unless"]
    without = {}
    for each in only:
        for choice in around(kind, each):
            beside = kind(**doing_something(kind, field.name) | {each.name: choice})
            if each.holds(beside):
                heeded(beside, dataclasses.replace(beside, **{field.name: value}))
            else:
                without[each.name] = choice
    refused = [kind(**without)] if only else []
    for each in unless:
        instead = doing_something(kind, each.name) | {each.name: meeting(kind, each)}
        refused.append(kind(**doing_something(kind, field.name) | instead))
    for beside in refused:
        heeded(beside, beside)  # what a run folder holds was looked at when it was given
        with pytest.raises(UserError, match=f"--{field.name}=") as refusal:
            heeded(beside, dataclasses.replace(beside, **{field.name: value}))
        for each in (*only, *unless):
            assert str(each) in refusal.value.expected and each.name in refusal.value.received


def test_an_option_of_one_that_does_nothing_does_nothing():
    usual = config.SearchConfig(rl_reward="power")  # kept in a run folder, of another call
    with pytest.raises(UserError, match="--rl_exponent"):
        heeded(usual, dataclasses.replace(usual, rl_exponent=0.2))
    usual = dataclasses.replace(usual, algorithm="reinforce")
    heeded(usual, dataclasses.replace(usual, rl_exponent=0.2))


def test_an_option_that_does_nothing_may_go_back_to_its_default():
    usual = config.SearchConfig(rl_images=100)  # kept in a run folder, of another algorithm
    heeded(usual, dataclasses.replace(usual, rl_images=None))
    with pytest.raises(UserError, match="--rl_images"):
        heeded(usual, dataclasses.replace(usual, rl_images=50))


def test_its_help_says_so():
    sampling = options_by_name(config.SearchConfig)["sampling"]
    assert sampling.metadata["help"].endswith(" Only with --algorithm=one_shot.")
    combination = options_by_name(config.SearchConfig)["combination"]
    assert combination.metadata["help"].endswith(
        " Only with --also. Not with --algorithm=one_shot or --regulariser=none."
    )


@pytest.mark.parametrize(
    "configs, words",
    [
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


@pytest.mark.parametrize(
    "stored",
    [
        {"measurements": 10, "blocks": 12},
        {"measurements": 5, "prior": ["phones.json"], "other_runtime": True},
        {"old_table": "old.json"},
        {"max_error_percent": 4.0},
    ],
    ids=str,
)
def test_the_command_that_measures_all_blocks_gives_up_a_stored_calibration(stored):
    kind = config.CalibrateConfig
    given = parse(MEASURE_BLOCKS.split()[1:], define_flags([kind]))
    given = dataclasses.replace(given, stored={kind.__name__: stored})
    before, now = given.usual.config(kind), given.config(kind)
    assert is_from_few(before) and not is_from_few(now)
    check_requests(Configs([now]))
    heeded(before, now)


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
    with pytest.raises(UserError, match=r"--size_dtype=float32 in 'a' of --budgets") as refused:
        asked({"max_macs": 1e6, "size_dtype": "float32"})
    assert "--max_size_kb" in refused.value.expected


def test_a_row_may_limit_further_devices(tmp_path, monkeypatch):
    monkeypatch.setattr("pnas_tf.latency.table.LatencyTable.load", str)

    def asked(also):
        (tmp_path / "rows.json").write_text(json.dumps([{"name": "a", "also": also}]))
        asks = config.SpecialiseConfig(out="made", budgets=str(tmp_path / "rows.json"))
        return requests_of(asks, config.DeriveConfig())[0]

    searched = config.SearchConfig(also=("own.json=3",))
    assert asked(["phone.json=12"]).of(searched).also == ("own.json=3", "phone.json=12")
    for wrong, words in ((["phone.json"], "TABLE.json=MS"), (["phone.json=-1"], "above 0")):
        with pytest.raises(UserError, match="'a' of --budgets") as refused:
            asked(wrong)
        assert words in refused.value.expected
    with pytest.raises(UserError, match="also of"):
        asked("phone.json=12")


def test_specialise_refuses_its_own_folder_and_one_of_a_given_network(tmp_path):
    with pytest.raises(UserError, match="--out=") as refused:
        check_elsewhere(tmp_path / "other" / "..", tmp_path)
    assert refused.value.received == "the same"
    check_elsewhere(tmp_path / "other", tmp_path)
    given = StepRecord("a digest", outputs={"architecture.json": ""})
    write_steps(tmp_path, {"architecture": given})
    kinds = (config.RunConfig, *CONFIGS)
    with RunFolder(tmp_path) as folder, pytest.raises(UserError, match="step derive") as refused:
        check_specialise(Inputs(folder, Configs(kind() for kind in kinds)))
    assert "another --run_dir" in refused.value.fix


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/a", "a/", ".lock", "front.json", "front_a.png", "a\0", "a\nb"]
)
def test_a_row_is_made_right_below_the_folder_that_was_asked_for(tmp_path, name):
    asks = config.SpecialiseConfig(out="made", budgets=str(tmp_path / "rows.json"))

    def made(*names):
        rows = [{"name": each, "max_macs": 1e6} for each in names]
        (tmp_path / "rows.json").write_text(json.dumps(rows))
        return [request.out for request in requests_of(asks, config.DeriveConfig())]

    assert made("a", "b", "téléphone 1.5") == [
        Path("made") / each for each in ("a", "b", "téléphone 1.5")
    ]
    with pytest.raises(UserError, match=r"name of .*rows\.json, number 2"):
        made("a", name)
    with pytest.raises(UserError, match="all different"):
        made("a", "a")


@pytest.mark.parametrize(
    "text, words",
    [
        ('[{"name": ', "see pnas specialise --help"),
        ('{"name": "a"}', "--budgets="),
        ("[]", "all different"),
        ("[3]", "--budgets="),
        ('[{"max_macs": 1}]', "number 1"),
        ('[{"name": "a", "max_mac": 1}]', "number 1"),
        ('[{"name": "a", "max_macs": "1"}]', "max_macs of .*number 1"),
        ('[{"name": "a"}]', "'a' of --budgets="),
        ('[{"name": "a", "max_macs": -1}]', "'a' of --budgets="),
        ('[{"name": "a", "max_size_kb": NaN}]', "rows.json"),
        ('[{"name": "a", "table": "absent.json"}]', "'a' of --budgets="),
    ],
)
def test_budgets_that_are_none_are_refused_by_their_row(tmp_path, text, words):
    (tmp_path / "rows.json").write_text(text)
    asks = config.SpecialiseConfig(out="made", budgets=str(tmp_path / "rows.json"))
    with pytest.raises(UserError, match=words):
        requests_of(asks, config.DeriveConfig())


def test_archives_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    given = config.DataConfig(dataset="digits", offline_files="~/archives")
    with pytest.raises(UserError, match="offline_files"):
        check_requests(Configs([given]))
    (tmp_path / "archives").mkdir()
    check_requests(Configs([given]))
