"""The measuring programs on files that cost no measuring: a table of the original project, and ops
without a clock."""

import json
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import forked_program
import pytest
import yaml

from pnas_tf.config import CalibrateConfig, LatencyConfig, RunConfig
from pnas_tf.devices.record_file import load_measurements
from pnas_tf.devices.sustained import points_of
from pnas_tf.interop.latency_yaml import upstream_keys
from pnas_tf.latency.few_shot import MEASURE_ANEW
from pnas_tf.latency.knowledge import Knowledge
from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.settings import Configs
from pnas_tf.space.mbconv import tiny
from pnas_tf.steps import calibrate
from pnas_tf.steps.inputs import Inputs
from pnas_tf.tflite.inspect import inspect_model

pytestmark = pytest.mark.slow

STANDIN = Path(__file__).parents[1] / "support" / "standin"


def published_rows(blocks):
    """A table of the original project that has these blocks."""
    names = (name for block in blocks for name in upstream_keys(block))
    return {name: {"count": 5, "mean": 2.0} for name in names}


def test_what_a_table_that_lacks_blocks_advises_is_not_refused(tmp_path):
    rows = published_rows(tiny().distinct_blocks().values())
    rows.pop(next(name for name in rows if "kernel:7" in name))
    (tmp_path / "pixel.yaml").write_text(yaml.safe_dump(rows))
    place = ("--run_dir=run", "--space=tiny", "--dataset=digits")
    read = (*place, "--original_table=pixel.yaml", "--original_device=Pixel 1")
    ended = forked_program.run("build_latency_table", *read, cwd=tmp_path)
    assert MEASURE_ANEW in ended.output
    stop = forked_program.Signal(signal.SIGTERM, prints="latency_table: begins")
    log = tmp_path / "log"
    again = (place[0], *MEASURE_ANEW.split()[2:])
    process = forked_program.start(
        "build_latency_table", again, log=log, cwd=tmp_path, signalled=stop
    )
    process.join(600)
    assert process.exitcode == 130, log.read_text()  # measuring had begun


def test_a_table_of_the_original_project_is_read_and_says_what_it_is(tmp_path):
    blocks = tiny().distinct_blocks()
    rows = published_rows(blocks.values())
    (tmp_path / "pixel.yaml").write_text(yaml.safe_dump(rows))
    ended = forked_program.run(
        "build_latency_table",
        "--run_dir=run",
        "--space=tiny",
        "--dataset=digits",
        "--original_table=pixel.yaml",
        "--original_device=Pixel 1",
        cwd=tmp_path,
    )
    assert ended.status == 0, ended.output
    assert ": uncalibrated: sums" in ended.output and "Pixel 1" in ended.output
    table = LatencyTable.load(tmp_path / "run" / "latency_table.json")
    assert set(table.entries) == set(blocks) and table.identity.rewrites == ()
    assert sorted({round(table.latency_ms(key), 9) for key in blocks}) == [
        2.0,
        4.0,
    ]  # the head is two rows of theirs
    (tmp_path / "pixel.yaml").write_text("- a list")
    again = forked_program.run(
        "build_latency_table",
        "--run_dir=run",
        "--space=tiny",
        "--dataset=digits",
        "--original_table=pixel.yaml",
        cwd=tmp_path,
    )
    forked_program.assert_refused(again, "pixel.yaml")


def test_the_host_says_that_it_has_no_clock_for_ops(tmp_path):
    shutil.copy(STANDIN / "tiny_float32.tflite", tmp_path / "a.tflite")
    ended = forked_program.run(
        "benchmark",
        "--run_dir=run",
        "--models=a.tflite",
        "--op_profile",
        "--min_invocations=3",
        "--sustained=2s",
        cwd=tmp_path,
    )
    assert ended.status == 0, ended.output
    assert "no op profile: LiteRT's Python API times whole inferences only" in ended.output
    assert json.loads((tmp_path / "run" / "latency.json").read_text())["op_profiles"] == {}
    assert "a, without a pause: first minute" in ended.output
    (series,) = load_measurements(tmp_path / "run" / "sustained.json").values()
    assert points_of(series)[-1].minute * 60 + 6 > 2 and len(series.runs) > 1
    refused = forked_program.run("benchmark", "--run_dir=run", "--sustained=10", cwd=tmp_path)
    forked_program.assert_refused(refused, "--sustained=10")


@pytest.mark.parametrize("restart", [False, True])
def test_measured_networks_of_an_earlier_table_are_taken_unless_all_is_measured_anew(
    tmp_path, monkeypatch, restart
):
    """Where the table itself was deleted, too."""
    earlier = tmp_path / "old-1" / "latency_table.json"
    earlier.parent.mkdir()
    earlier.touch()
    table = SimpleNamespace(few_shot="of 5 networks")
    monkeypatch.setattr(LatencyTable, "load", {earlier: table}.__getitem__)
    monkeypatch.setattr("pnas_tf.latency.knowledge.knowledge_of", lambda *_, **__: Knowledge())
    configs = Configs([RunConfig(restart=restart), CalibrateConfig(), LatencyConfig()])
    job = Inputs(RunFolder(tmp_path), configs)
    vars(job)["space"] = None
    known = calibrate.knowledge(job, LatencyConfig(), "latency_table.json")
    assert known.before is (None if restart else table)


def test_memory_is_asked_for_in_a_folder_that_was_measured_on_another_device(tmp_path):
    pytest.importorskip("tflite_micro", reason="needs pip install 'pnas_tf[tflm]'")
    shutil.copy(STANDIN / "tiny_float32.tflite", tmp_path / "a.tflite")

    def benchmark(*flags):
        ended = forked_program.run(
            "benchmark", "--run_dir=run", "--models=a.tflite", *flags, cwd=tmp_path
        )
        assert ended.status == 0, ended.output
        return ended.output

    benchmark("--device=host", "--min_invocations=3")
    measured = (tmp_path / "run" / "latency.json").read_bytes()
    assert "bytes of an arena of" in benchmark("--device=tflm")
    used = json.loads((tmp_path / "run" / "memory.json").read_text())["models"]["a"]
    arena = inspect_model(tmp_path / "a.tflite").arena
    assert used["working_bytes"] == arena.working_bytes and used["max_difference"] == 0
    assert "benchmark: complete, skipped" in benchmark()
    assert (tmp_path / "run" / "latency.json").read_bytes() == measured
    both = forked_program.run("benchmark", "--run_dir=run", "--device=host,tflm", cwd=tmp_path)
    forked_program.assert_refused(both, "tflm")
