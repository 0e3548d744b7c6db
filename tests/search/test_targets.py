"""Requests for targets that are refused before there is a table."""

import pytest

from pnas_tf.config import SearchConfig
from pnas_tf.errors import UserError
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.settings import Configs
from pnas_tf.run.step import digest_of
from pnas_tf.search.targets import check_request
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.search import tables_read


@pytest.mark.parametrize("objective", ["macs", "parameters"])
def test_a_latency_of_the_device_is_not_divided_by_a_target_of_another_unit(objective):
    with pytest.raises(UserError, match="--rl_latency=device"):
        check_request(SearchConfig(algorithm="reinforce", rl_latency="device", objective=objective))


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
