"""The section on what choices are worth, from the file that a search leaves."""

import json

import pytest

from pnas_tf.errors import UserError
from pnas_tf.report.effects import effects_section, load_worth

ROW = {
    "block": "s1b1",
    "op": "mbconv_k3_e6",
    "effect": -0.0123,
    "latency_ms": {"host": 1.5, "phone.json": 2.25},
    "macs": 1_200_000,
    "parameters": 300,
}
FILE = {"format": "pnas_tf/effects", "version": 1, "effects": {}}


def test_every_choice_has_a_row_with_its_latency_on_each_device(tmp_path):
    path = tmp_path / "model.json"
    zero = {**ROW, "op": "zero", "effect": 0.5, "latency_ms": {"host": 0.0, "phone.json": 0.0}}
    path.write_text(json.dumps({**FILE, "choices": [ROW, zero]}))
    section = effects_section(load_worth(path))
    assert section.table.header == ("choice", "cross-entropy", "host", "phone.json", "MACs")
    (name, cells), (other, _) = section.table.rows
    assert name == "s1b1: mbconv_k3_e6" and other == "s1b1: zero"
    assert cells[0] == "-0.0123" and "1.5" in cells[1] and "2.25" in cells[2]


def test_no_model_no_section_and_a_damaged_one_is_refused(tmp_path):
    assert effects_section(load_worth(tmp_path / "absent.json")) is None
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**FILE, "choices": [{**ROW, "latency_ms": 3}]}))
    with pytest.raises(UserError, match="number 0"):
        load_worth(path)
