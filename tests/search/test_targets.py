"""Requests for targets that are refused before there is a table."""

import pytest

from pnas_tf.config import SearchConfig
from pnas_tf.errors import UserError
from pnas_tf.run.folder import digest_of
from pnas_tf.search.targets import check_request
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
    assert tables_read(tmp_path, config) == [own, pixel]
    before = digest_of({"tables": tables_read(tmp_path, config)})
    assert digest_of({"tables": tables_read(tmp_path, config)}) == before
    pixel.write_text("after")
    assert digest_of({"tables": tables_read(tmp_path, config)}) != before
