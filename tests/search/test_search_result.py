"""What a search result asks of files: a footprint once, and another network where a file turns out
larger than predicted."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from pnas_tf.config import DeriveConfig, ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.search import result as module
from pnas_tf.search.budgets import Budget
from pnas_tf.search.choice_program import Bound
from pnas_tf.search.derive import architecture_of
from pnas_tf.search.file_limits import FileLimits
from pnas_tf.search.quantities import Quantity
from pnas_tf.search.result import SearchResult
from pnas_tf.space.registry import named_space

SPACE = named_space("tiny", classes=10)
DATASET = SimpleNamespace(resolution=SPACE.resolution)
TABLE = SimpleNamespace(identity=SimpleNamespace(dtype="float32"))


@pytest.fixture
def found(tmp_path):
    """A search result whose files nobody reads."""
    made = SearchResult(tmp_path, SPACE, DATASET, TABLE)
    vars(made)["targets"] = ()
    return made


def test_a_footprint_is_measured_once_for_all_budgets(found, monkeypatch):
    calls = []

    def measure(space, files, dtypes, *, progress):
        calls.append((dtypes, files.config))
        return object()

    monkeypatch.setattr(module, "measure_footprint", measure)
    monkeypatch.setattr(module, "limits_of", lambda *_, footprint, files: footprint)
    sizes = [Budget("size_kb", 300.0), Budget("size_kb", 200.0), Budget("ram_kb", 100.0)]
    footprints = {id(found.limits(DeriveConfig(), [budget])) for budget in sizes}
    assert len(footprints) == len(calls) == 1
    found.limits(DeriveConfig(), [Budget("size_kb", 900.0, dtype="float32")])
    export = ExportConfig(author="me")
    found.limits(DeriveConfig(), sizes[:1], export=export)
    usual = ExportConfig()
    assert calls == [(("int8",), usual), (("float32",), usual), (("int8",), export)]


@dataclass(frozen=True)
class Files:
    """Bytes of each network's file, by its ops."""

    sizes: dict[str, int]

    def __call__(self, network, dtype):
        return bytes(self.sizes[str(network.ops)])

    def splits_kernels(self, space):
        return False


@pytest.mark.parametrize("sizes, taken", [((1001, 999), 1), ((1001, 1002), None)])
def test_a_network_with_a_larger_file_than_predicted_gives_way(found, monkeypatch, sizes, taken):
    """To the next best, which is measured too; where there is none the budgets are refused."""
    networks = [architecture_of(SPACE, (place,) * len(SPACE.choice_blocks)) for place in (0, 1)]
    files = dict(zip((str(network.ops) for network in networks), sizes, strict=True))
    zeros = tuple(np.zeros(len(choice.candidates)) for choice in SPACE.choice_blocks)
    predicted = Quantity("size of the float32 file", "kB", 0.9, zeros)
    budget = Budget("size_kb", 1.0, dtype="float32")
    limits = FileLimits(
        [(budget, Bound(predicted, budget.most))],
        files=Files(files),
    )
    vars(found)["learnt"] = SimpleNamespace(candidates=lambda *_: (list(networks), 0.0))
    monkeypatch.setattr(SearchResult, "_best_of", lambda _, few, *rest: (few[0], (), ""))
    if taken is None:
        with pytest.raises(UserError, match="files keep these budgets"):
            found._within(limits, DeriveConfig(), None)
    else:
        derivation = found._within(limits, DeriveConfig(), None)
        assert derivation.architecture == networks[taken]
        assert [row["measured"] for row in derivation.budgets] == [sizes[taken] / 1000]
