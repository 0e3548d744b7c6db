"""Exported files beside the budgets that their network was derived within."""

import json
from types import SimpleNamespace

import pytest

from pnas_tf.errors import UserError
from pnas_tf.report.budgets import (
    budget_rows,
    check_exported,
    check_files,
    check_formats,
    derived_budgets,
)
from pnas_tf.report.summary_table import summary_table
from pnas_tf.search.budgets import Budget

ROWS = [
    {"kind": "latency_ms", "dtype": None, "name": "latency", "unit": "ms", "most": 4.0},
    {"kind": "size_kb", "dtype": "int8", "name": "size of the int8 file", "unit": "kB", "most": 10},
    {"kind": "ram_kb", "dtype": None, "name": "peak RAM", "unit": "kB", "most": 64.0},
]


def derived(folder, **changed):
    rows = [{"predicted": 3.0, "measured": None, **row} for row in ROWS]
    document = {"format": "pnas_tf/derivation", "version": 1, "budgets": rows, "networks": []}
    (folder / "derivation.json").write_text(json.dumps(document | changed))
    return derived_budgets(folder)


def test_a_file_stands_beside_its_budget_and_latency_as_predicted(tmp_path):
    rows = budget_rows(derived(tmp_path), {"int8": 9_999, "float32": 5}, {"int8": 64_001})
    assert [(row["value"], row["kept"]) for row in rows] == [
        (3.0, True),
        (9.999, True),
        (64.001, False),
    ]
    table = summary_table({"budgets": rows, "ram_bytes": {"int8": 64_001}})
    facts = dict(table.facts)
    assert facts["budget, size of the int8 file"] == "9.999 of 10 kB"
    assert facts["budget, peak RAM"] == "64 of 64 kB, BROKEN"
    macs = {"name": "macs", "unit": "MACs", "value": 4.8e6, "most": 5e6}
    told = dict(summary_table({"budgets": [macs]}).facts)
    assert told["budget, macs"] == "4.80 M of 5.00 M MACs"
    assert ("peak RAM", ("–", "–", "64.0 kB")) in table.rows


def test_what_was_not_exported_is_neither_kept_nor_broken(tmp_path):
    rows = budget_rows(derived(tmp_path), {"float32": 5}, {})
    assert [row["kept"] for row in rows] == [True, None, None]
    assert check_exported(derived(tmp_path), {"float32": _model(20_000)}) == rows[1:]


def test_at_another_size_latency_is_not_known_and_macs_are_that_files(tmp_path):
    macs = {"kind": "macs", "name": "macs", "unit": "MACs", "most": 100.0}
    budgets = derived(tmp_path, budgets=[{"predicted": 3.0, **row} for row in (*ROWS[:2], macs)])
    rows = budget_rows(budgets, {"int8": 9_999}, {}, resized=SimpleNamespace(macs=101))
    assert [(row["value"], row["kept"]) for row in rows] == [
        (None, None),
        (9.999, True),
        (101, False),
    ]
    files = {"int8": _model(9_999)}
    assert check_exported(budgets, files, resized=SimpleNamespace(macs=101)) == [rows[0], rows[2]]


def test_files_exported_by_python_are_held_to_their_budgets():
    budgets = [Budget("size_kb", 10, dtype="float32"), Budget("latency_ms", 1e-9)]
    check_formats(budgets, ("float32",))
    check_files(budgets, {"float32": _model(10_000)})
    with pytest.raises(UserError, match="size of the float32 file is beyond") as refused:
        check_files(budgets, {"float32": _model(10_001)})
    assert "table=" in refused.value.fix
    with pytest.raises(UserError, match="budget of the float32 file"):
        check_formats(budgets, ("int8",))
    with pytest.raises(UserError, match="budget of the int8 file"):
        check_formats([Budget("ram_kb", 10)], ("float32",))


def test_an_export_beyond_its_budget_is_refused(tmp_path):
    budgets = derived(tmp_path, budgets=[{**ROWS[1], "predicted": 9.0, "measured": 9.0}])
    with pytest.raises(UserError, match="size of the int8 file is beyond its budget") as caught:
        check_exported(budgets, {"int8": _model(10_001)})
    assert "at most 10 kB" in caught.value.expected and "10.001 kB" in caught.value.received
    assert check_exported(budgets, {"int8": _model(10_000)}) == []


def test_a_network_that_was_not_derived_has_no_budgets(tmp_path):
    assert derived_budgets(tmp_path) == ()
    check_exported((), {"int8": b"anything"})


def test_a_damaged_derivation_is_refused(tmp_path):
    with pytest.raises(UserError, match="budgets of"):
        derived(tmp_path, budgets=[3])


def _model(size: int) -> bytes:
    """A model without ops of just so many bytes."""
    from ai_edge_litert import schema_py_generated as schema

    from pnas_tf.tflite.model import pack

    model = schema.ModelT()
    model.buffers, graph = [schema.BufferT()], schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    model.subgraphs, model.operatorCodes = [graph], []
    content = pack(model)
    return content + bytes(size - len(content))
