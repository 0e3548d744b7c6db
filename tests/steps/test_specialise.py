"""Further devices and budgets from a search that is there: what is refused before anything is made,
what is measured once, and what becomes of what stood there. The searched run is made by hand, and
one network is compared, so that nothing is trained."""

import itertools
import json
import re
import shutil
import signal

import numpy as np
import pytest
from forked_program import SPACE, Signal, run, start

from pnas_tf import config as options
from pnas_tf.data import from_arrays
from pnas_tf.devices.record import Device, Measurement, ModelFacts, ModelRun, Settings
from pnas_tf.errors import UserError
from pnas_tf.latency.identity import Identity
from pnas_tf.latency.table import LatencyTable
from pnas_tf.report.effects import load_worth
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import OWN
from pnas_tf.run.records import StepRecord, read_steps, write_steps
from pnas_tf.run.settings import Configs
from pnas_tf.search.effects import Agreement, Effects
from pnas_tf.search.file_limits import UntrainedFiles
from pnas_tf.search.loop import HISTORY_FORMAT, HISTORY_VERSION
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.registry import save_space
from pnas_tf.steps import specialise
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.programs import program_of
from pnas_tf.tflite.footprint import BlockFootprint, Footprint

PROGRAM = program_of("specialise")


def table_of(factor):
    entries = {
        key: Measurement(
            Device("host", "machine", "processor", (1,), "system", "build"),
            Settings("runtime", "1.0", "xnnpack", 1),
            ModelFacts("0" * 64, 1, "float32", (1, 8, 8, 3), ()),
            (ModelRun((factor * number,) * 24),),
        )
        for number, key in enumerate(SPACE.distinct_blocks(), start=1)
    }
    one = next(iter(entries.values()))
    return LatencyTable(Identity(one.device, one.settings, "float32", ()), entries)


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A run folder with a latency table alone, and another device's beside it."""
    monkeypatch.chdir(tmp_path)
    save_space(SPACE, tmp_path / "small.json")
    table_of(1000.0).save(tmp_path / "run/latency_table.json")
    table_of(5000.0).save(tmp_path / "phone.json")
    return tmp_path / "run"


@pytest.fixture
def searched(empty):
    """A run folder as a one-shot search leaves it."""
    folder = empty
    sizes = [len(choice.candidates) for choice in SPACE.choice_blocks]
    (folder / "search").mkdir(parents=True)
    history = {"format": HISTORY_FORMAT, "version": HISTORY_VERSION, "epochs": []}
    (folder / "search/history.json").write_text(json.dumps(history))
    Effects(
        2.0,
        tuple((*(0.1 * place for place in range(size)),) for size in sizes),
        tuple(((0.0,) * second,) * first for first, second in itertools.pairwise(sizes)),
        1.0,
        1.0,
        Agreement(10, 0.9, 0.8, 1.0),
    ).save(folder / "search/effects.json")
    return folder


def asked(rows=None, *, out="made", restart=False, table="", **limits):
    """Calls the program."""
    budgets = ""
    if rows is not None:
        with open("rows.json", "w") as stream:
            json.dump(rows, stream)
        budgets = "rows.json"
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (200, 8, 8, 3)).astype(np.uint8)
    data = from_arrays(images, np.arange(200) % 10, range(10))
    given = [
        options.RunConfig(run_dir="run", restart=restart),
        options.SpaceConfig(space="small.json"),
        options.SearchConfig(algorithm="one_shot"),
        options.SpecialiseConfig(out=out, table=table, budgets=budgets),
        options.DeriveConfig(derive_networks=1, **limits),
        data.config,
    ]
    kinds = {kind: kind() for kind in PROGRAM.configs} | {type(each): each for each in given}
    with RunFolder("run") as folder:
        PROGRAM.run(Inputs(folder, Configs(kinds.values()), data))


@pytest.fixture
def measured(monkeypatch):
    """Number formats of every footprint that was measured, in the place of a minute each. A block
    takes 1 kB, so does what is no block's, and so does every file."""
    calls = []

    def measure(space, make_file, dtypes, *, progress):
        calls.append(dtypes)
        buffers = ((16, 1, 2), (16, 2, None))
        block = BlockFootprint({"int8": 1000}, 10, 100, 2, 1, buffers, {"int8": ()})
        blocks = dict.fromkeys(space.distinct_blocks(), block)
        return Footprint(blocks, {"int8": {}}, {"int8": 1000}, 300, chain=True)

    monkeypatch.setattr("pnas_tf.tflite.footprint_reading.measure_footprint", measure)
    monkeypatch.setattr(UntrainedFiles, "__call__", lambda *_: bytes(1000))
    monkeypatch.setattr("pnas_tf.search.file_limits.file_arena_bytes", lambda _: 1000)
    return calls


def budget_of(folder, kind):
    """Its rows in derivation.json."""
    rows = json.loads((folder / "derivation.json").read_text())["budgets"]
    return [row for row in rows if row["kind"] == kind]


def names_of(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_a_row_that_no_network_keeps_is_named_before_any_is_made(searched, tmp_path):
    good = {"name": "good", "max_macs": 1e9}
    with pytest.raises(UserError) as caught:
        asked([good, {"name": "bad", "max_latency_ms": 1e-6}])
    assert caught.value.what.endswith("in 'bad' of --budgets=rows.json")
    small = {"name": "small", "table": "phone.json", "max_macs": 1e9, "max_parameters": 1}
    with pytest.raises(UserError, match="'small' of --budgets"):
        asked([good, small])
    with pytest.raises(UserError, match="'less' of --budgets") as caught:
        asked([good, {"name": "less", "max_macs": -1}])
    assert "--max_macs" in caught.value.what
    assert not (tmp_path / "made").exists()


def test_a_row_that_turns_out_impossible_leaves_the_front_of_those_before(
    searched, measured, monkeypatch, tmp_path
):
    monkeypatch.setattr(specialise, "_row", lambda request, *_: {"name": request.out.name})
    monkeypatch.setattr("pnas_tf.report.pareto_plot.plot_pareto_front", lambda _, path: path)
    rows = [{"name": "good", "max_macs": 1e9}, {"name": "tight", "max_size_kb": 1.5}]
    with pytest.raises(UserError, match="size of the int8 file in 'tight' of --budgets"):
        asked(rows)
    made = tmp_path / "made"
    assert json.loads((made / "front.json").read_text())["devices"] == {OWN: [{"name": "good"}]}
    assert names_of(made) == ["front.json", "good"] and len(measured) == 1
    shutil.rmtree(made)  # what was measured stays, so that it is known before the next call
    with pytest.raises(UserError, match="size of the int8 file in 'tight' of --budgets"):
        asked(rows)
    assert not made.exists() and len(measured) == 1


def test_a_footprint_is_measured_once_a_device_for_all_budgets(searched, measured):
    asked(out="one", max_size_kb=900)
    asked(out="two", max_size_kb=800)
    asked(out="two", max_ram_kb=700)
    assert measured == [("int8",)]
    asked(out="three", max_size_kb=900, table="phone.json")  # whose rewrites may be others
    asked(out="four", max_ram_kb=900, table="phone.json")
    assert len(measured) == 2
    record = read_steps(searched.parent / "one")["footprint"]  # as of a search within such a budget
    (searched / "footprint.json").write_bytes((searched.parent / "one/footprint.json").read_bytes())
    write_steps(searched, {"footprint": record})
    shutil.rmtree(searched / "footprints")
    asked(out="five", max_size_kb=900)
    assert len(measured) == 2 and not (searched / "footprints").exists()


def test_what_choices_cost_is_told_of_the_devices_of_the_new_folder(searched, tmp_path):
    asked(table="phone.json", max_macs=1e9)
    before = load_worth(searched / "search/effects.json")
    assert before == ()  # as it was
    rows = load_worth(tmp_path / "made/search/effects.json")
    phone = LatencyTable.load("phone.json")
    network = Architecture.load(tmp_path / "made/architecture.json")
    costs = {(row["block"], row["op"]): row["latency_ms"] for row in rows}
    chosen = [block for block in network.blocks if (block.name, block.op.key) in costs]
    assert len(chosen) == len(SPACE.choice_blocks)
    for block in chosen:
        assert costs[block.name, block.op.key] == {OWN: pytest.approx(phone.share_ms(block.key))}


def test_restart_moves_a_supernet_and_tables_aside(searched, tmp_path):
    """Of a search that was brought there in Python, and of a run that only measured."""
    made = tmp_path / "made"
    (made / "search/checkpoints").mkdir(parents=True)
    (made / "search/checkpoints/step-9999999999.npz").write_bytes(b"weights")
    (made / "search/history.json").write_text("another")
    table_of(2000.0).save(made / "latency_table.json")
    (made / "latency_table_int8.json").write_text("int8")
    known = StepRecord("0", outputs={"latency_table.json": "0"}, duration_s=900.0)
    write_steps(made, {"latency_table": known})
    with pytest.raises(UserError, match="another history"):
        asked(max_macs=1e9)
    asked(max_macs=1e9, restart=True)
    old = made / "old-1"
    assert names_of(made) == [
        *("architecture.json", "config.json", "derivation.json", "latency_table.json"),
        *("old-1", "search", "specialised.json", "steps.json"),
    ]
    assert (old / "search/checkpoints/step-9999999999.npz").read_bytes() == b"weights"
    assert (old / "search/history.json").read_text() == "another"
    assert LatencyTable.load(old / "latency_table.json") == table_of(2000.0)
    assert (old / "latency_table_int8.json").read_text() == "int8"
    assert read_steps(old)["latency_table"].duration_s == 900.0
    assert set(read_steps(made)) == {"derive"}
    assert names_of(made / "search") == names_of(searched / "search")
    asked(max_macs=1e9, restart=True)  # its own: nothing to move
    assert not (made / "old-2").exists()


@pytest.mark.slow
def test_one_supernet_from_the_command_line_and_files_that_keep_their_budgets(empty, tmp_path):
    """The search prints how its effect model orders held-out paths; a specialisation that is killed
    goes on; and the files are as large as was asked for, by one footprint for two budgets."""
    flags = [f"--data_dir={tmp_path / 'tfds'}", "--derive_networks=1"]
    small = ["--warmup_epochs=1", "--search_epochs=1", "--effect_paths=20", "--effect_images=50"]
    ended = run(
        "search",
        "--run_dir=run",
        "--dataset=digits",
        "--space=small.json",
        "--algorithm=one_shot",
        *small,
        *flags,
        cwd=tmp_path,
    )
    assert ended.status == 0, ended.output
    assert re.search(r"Spearman -?\d\.\d\d \(.*\) on 5 held-out paths", ended.output)
    assert [set(row["latency_ms"]) for row in load_worth(empty / "search/effects.json")] == (
        [{OWN}] * sum(len(choice.candidates) for choice in SPACE.choice_blocks)
    )
    asks = ["--run_dir=run", *flags, "--size_dtype=float32"]
    begun = Signal(signal.SIGKILL, files=f"{tmp_path}/made/specialised.json")
    arguments = [*asks, "--out=made", "--max_size_kb=500"]
    killed = start("specialise", arguments, log=tmp_path / "log", cwd=tmp_path, signalled=begun)
    killed.join(600)
    assert killed.exitcode == -signal.SIGKILL and not (tmp_path / "made/architecture.json").exists()
    ended = run("specialise", *arguments, cwd=tmp_path)
    assert ended.status == 0 and "converting" in ended.output, ended.output
    (row,) = budget_of(tmp_path / "made", "size_kb")
    assert row["measured"] == pytest.approx(row["predicted"], rel=0.01)
    limit = row["measured"] - 0.5
    ended = run("specialise", *asks, "--out=less", f"--max_size_kb={limit}", cwd=tmp_path)
    assert "converting" not in ended.output, ended.output
    if ended.status == 0:  # the first one need not be the smallest
        (row,) = budget_of(tmp_path / "less", "size_kb")
        assert row["measured"] <= limit
    else:
        assert "a budget from" in ended.output
