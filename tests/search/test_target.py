"""Requests for targets that are refused before there is a table."""

import pytest

from pnas_tf.config import SearchConfig
from pnas_tf.errors import UserError
from pnas_tf.search.targets import check_request


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
