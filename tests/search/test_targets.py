"""Requests for targets that are refused before there is a table."""

import re

import numpy as np
import pytest

from pnas_tf.config import SearchConfig
from pnas_tf.devices.record import Device, Settings
from pnas_tf.errors import UserError
from pnas_tf.latency.identity import Identity
from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.settings import Configs
from pnas_tf.run.step import digest_of
from pnas_tf.search.quantities import Quantity
from pnas_tf.search.targets import _target, check_request, search_targets
from pnas_tf.space.registry import named_space
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.search import tables_read


@pytest.mark.parametrize("objective", ["macs", "parameters"])
def test_a_latency_of_the_device_is_not_divided_by_a_target_of_another_unit(objective):
    with pytest.raises(UserError, match="--rl_latency=device"):
        check_request(SearchConfig(algorithm="reinforce", rl_latency="device", objective=objective))
    with pytest.raises(UserError, match="--target_value"):
        check_request(SearchConfig(target_latency_ms="5", objective=objective))


@pytest.mark.parametrize(
    "options",
    [
        {"algorithm": "reinforce", "rl_latency": "device"},
        {"algorithm": "reinforce", "objective": "macs"},
        {"rl_latency": "device", "objective": "macs"},
    ],
)  # the gradient search reads no --rl_latency
def test_one_unit_throughout_is_accepted(options):
    check_request(SearchConfig(**options))


def test_a_search_is_known_by_the_content_of_every_table_it_reads(tmp_path):
    """A rebuilt table of another device is another search, though the command is the same."""
    own, pixel = tmp_path / "latency_table.json", tmp_path / "pixel.json"
    own.write_text("own")
    pixel.write_text("before")
    config = SearchConfig(also=(f"{pixel}=40",))
    job = Inputs(RunFolder(tmp_path), Configs([config]))
    assert tables_read(job) == (own, pixel)
    before = digest_of(tables_read(job))
    assert digest_of(tables_read(job)) == before
    pixel.write_text("after")
    assert digest_of(tables_read(job)) != before


@pytest.mark.parametrize("scale", [1.37e-3, 1.0, 3.7e2, 9.9e5])
def test_the_figures_of_a_refusal_can_be_given(scale):
    """Rounded to the nearest, the fastest network's own latency would be refused again."""
    quantity = Quantity("latency", "ms", 0.0, (np.array([8.12349, 8.12651]) * scale,))
    with pytest.raises(UserError, match="out of reach") as error:
        _target(quantity, repr(8.0 * scale), flag="--target_latency_ms")
    told = f"{error.value.expected} {error.value.fix}"
    figures = re.findall(r"(?:from|to|latency_ms=)\s?([\d.e+-]+\d)", told)
    assert len(figures) == 3
    for figure in figures:
        assert _target(quantity, figure, flag="--target_latency_ms").value == float(figure)


def test_a_target_out_of_reach_names_the_option_that_asks_for_it(tmp_path, monkeypatch):
    class Priced:
        calibration = None
        check_covers = staticmethod(lambda space, given="": None)
        share_ms = staticmethod(lambda key: 1.0)

    monkeypatch.setattr(LatencyTable, "load", staticmethod(lambda path: Priced()))
    config = SearchConfig(also=("pixel.json=2",))
    with pytest.raises(UserError, match=r"--also=pixel\.json is out of reach") as refused:
        search_targets(named_space("tiny", classes=10), Priced(), config)
    assert "--also=pixel.json=" in refused.value.fix
    space = named_space("tiny", classes=10)
    wide = search_targets(space, Priced(), SearchConfig(also=("pixel.json=1e6",)))[1]
    assert wide.value == wide.quantity.range[1]  # which every network keeps


def test_another_devices_table_that_lacks_blocks_is_named_with_what_asks_for_it(monkeypatch):
    device, settings = Device("host", "a laptop", "a CPU"), Settings("LiteRT", "2", "none", 1)
    empty = LatencyTable(Identity(device, settings, "float32", ()), {})
    monkeypatch.setattr(LatencyTable, "load", staticmethod(lambda path: empty))
    config = SearchConfig(objective="macs", also=("pixel.json=400",))
    with pytest.raises(UserError, match=r"--also=pixel\.json does not cover") as refused:
        search_targets(named_space("tiny", classes=10), empty, config)
    assert "--run_dir" not in refused.value.fix
