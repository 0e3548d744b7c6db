"""Every loader of files that a stranger may have written, with valid files to start from, and
hostile files made of them.

test_hostile_files.py runs them in CI, benchmarks/fuzz_loaders.py for as long as one likes.
`attempt` holds the property: a file loads, or a UserError names the file and the place; nothing
hangs, nothing is written, nothing is left.
"""

import contextlib
import dataclasses
import io
import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from pnas_tf.errors import UserError, is_shown

HERE = Path(__file__).resolve().parent
LIMIT_S = 10.0  # processor seconds
ASLEEP_S = 120.0  # by the clock: waiting for a pipe, a lock or a child
# What names the place in text that cannot be parsed, and in formats that have bytes, entries and
# lines but no names.
PLACE = re.compile(
    r"\blines?\b|column "
    r"\d+|byte|level|number|entry|entries|'[^']+'|\"[^\"]+\"|\[\d+\]|identifier|magic|header|SHA-256|zip|archive|"
    r"no "
    r"array|tensor|empty|decode|pickle|unpickl|storage|record|load|key|name|shape|count=|avg|pixels|image|Error|process",
    re.IGNORECASE,
)
VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    3.5,
    -0.0,
    1e308,
    5e-324,
    10**18,
    -(10**18),
    10**6,
    4096,
    "",
    "x",
    "../../../etc/passwd",
    "/dev/zero",
    "a\0b",
    "\u202e\u0007\x1b[2J",
    "é" * 300,
    "<script>alert(1)</script>",
    "$(reboot)",
    "__class__",
    [],
    {},
    [[]],
    [None],
    [1, 2, 3],
    ["x"],
    [1e308] * 3,
    {"": 0},
    {"format": "pnas_tf/config"},
    {"op": "zero"},
    {"op": "mbconv", "kernel": True, "expansion": 6},
    [[[[[[]]]]]],
)
TEXTS = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-1e999",
    b"9" * 30,
    b"9" * 6000,
    b"[" * 200,
    b"[" * 100_000,
    b'{"a":' * 5000,
    b'"\\ud800"',
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\0",
    b"\x1b]0;x\x07",
    b"&a [*a, *a]",
    b"!!python/object/apply:os.getcwd []",
    b"<<: {a: 1}",
    b"- ",
    b": ",
    b"\n" * 50,
    "٣".encode(),
    b"0x10",
    b"1_000",
    b".inf",
    b"2001-99-99",
)


@dataclasses.dataclass(frozen=True)
class Loader:
    """name: of the format. seeds: (file name in the folder, valid content). load: reads the file;
    called with the folder and the path.

    others: what else stands in the folder, by name. names_file: errors name the file (a parser of
    text has none). examples: in CI.
    """

    name: str
    seeds: tuple[tuple[str, bytes], ...]
    load: object
    others: tuple[tuple[str, bytes], ...] = ()
    is_json: bool = False
    names_file: bool = True
    examples: int = 500


@dataclasses.dataclass(frozen=True)
class Hostile:
    """A file: its name in the folder, its content, and, where one value of a document was replaced,
    the way to it."""

    file: str
    content: bytes
    way: tuple[str, ...] | None = None

    def __repr__(self):
        return (
            f"Hostile({self.file!r}, bytes.fromhex({self.content.hex()!r}), {self.way!r})"
            if len(self.content) < 3000
            else f"Hostile({self.file!r}, {len(self.content)} bytes beginning "
            f"{self.content[:80]!r}, {self.way!r})"
        )


DRAWS = st.binary(
    min_size=32, max_size=32
)  # one draw: hypothesis takes 1.5 ms for a structured one, loaders take 0.2
KINDS = ("random", "cut", "bytes", "bytes", "moved", "text", "value", "value", "value")


def made_of(loader, draw):
    """The hostile file that a draw of DRAWS stands for."""
    numbers = [int.from_bytes(draw[place : place + 3], "little") for place in range(2, 32, 3)]
    kind = KINDS[draw[0] % len(KINDS)]
    file, seed = loader.seeds[draw[1] % len(loader.seeds)]
    if kind == "random":
        return Hostile(file, draw[2 : 2 + draw[1] % 31])
    if kind == "cut":
        return Hostile(file, seed[: numbers[0] % len(seed)])
    content = bytearray(seed)
    if kind == "bytes":
        for place, value in zip(numbers[1 : 1 + 1 + numbers[0] % 6], draw[20:]):
            content[place % len(content)] = (value, 0, 1, 0x7F, 0x80, 0xFF)[value % 6]
    if kind == "moved":  # a piece of the file written over another
        source, target, length = (number % len(content) for number in numbers[:3])
        content[target : target + length % 64] = content[source : source + length % 64]
    if kind == "text":
        place, piece = numbers[0] % len(content), TEXTS[numbers[1] % len(TEXTS)]
        content[place : place + numbers[2] % 3] = piece
    if kind == "value":
        if loader.is_json:
            return _with_value(file, seed, numbers[0], numbers[1])
        content[numbers[0] % len(content) :] = seed[: numbers[1] % len(seed)]
    return Hostile(file, bytes(content))


def _with_value(file, seed, place, choice):
    """One value of a JSON document replaced, dropped or given a neighbour's."""
    document = json.loads(seed)
    ways = list(_ways(document, ()))
    way = ways[place % len(ways)]
    choice %= len(VALUES) + 6
    if not way:
        return Hostile(file, json.dumps(VALUES[choice % len(VALUES)]).encode(), ())
    holder = document
    for step in way[:-1]:
        holder = holder[step]
    if choice < len(VALUES):
        holder[way[-1]] = VALUES[choice]
    elif choice < len(VALUES) + 2:
        del holder[way[-1]]
    elif choice < len(VALUES) + 4 and isinstance(holder, dict):
        holder["unknown"] = 1
        way = (*way[:-1], "unknown")
    else:
        other = document
        for step in ways[(place // len(ways)) % len(ways)]:
            other = other[step]
        holder[way[-1]] = json.loads(json.dumps(other))
    return Hostile(file, json.dumps(document).encode(), tuple(map(str, way)))


def _ways(document, way):
    yield way
    items = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for step, item in items:
        yield from _ways(item, (*way, step))


def load_valid(loader, folder):
    """Loads each file that hostile ones are made of; raises what refuses one."""
    for file, seed in loader.seeds:
        (Path(folder) / file).write_bytes(seed)
        loader.load(Path(folder), Path(folder) / file)


def attempt(loader, folder, hostile):
    """Loads the hostile file as `folder` has it. Returns whether it loaded; raises AssertionError
    or what a library raised."""
    path = Path(folder) / hostile.file
    path.write_bytes(hostile.content)
    before = _listing(folder)
    started = time.process_time()
    with _alarm():
        try:
            loader.load(Path(folder), path)
            refused = None
        except UserError as error:
            refused = error
    assert time.process_time() - started < LIMIT_S, "took too long"
    after = _listing(folder)
    assert after == before, f"left behind: {sorted(set(after) ^ set(before))}"
    if refused is None:
        return True
    text = str(refused)
    assert all(
        part.strip() for part in (refused.what, refused.expected, refused.received, refused.fix)
    ), text
    assert all(is_shown(sign) or sign in "\n\t" for sign in text), repr(text)
    text.encode()
    if loader.names_file:
        assert path.name in text, text
    told = text.split("\n  what to do")[0].replace(
        str(path), ""
    )  # the file's name says nothing of the place
    named = any(step.lower() in told.lower() for step in _places(loader, hostile))
    assert named or (hostile.way is None and PLACE.search(told)), f"{hostile.way}: {text}"
    return False


def _places(loader, hostile):
    """What may be called the place: the steps to the value that was replaced; names of the document
    where that is not known."""
    if hostile.way is not None:  # "block 3" stands for blocks[3], "entry 'x'" for entries["x"]
        return [
            form
            for step in hostile.way or ("an object", "a list")
            for form in (step, step.removesuffix("s"), step.replace("ies", "y"), _CHAIN.get(step))
            if form
        ]
    try:
        json.loads(hostile.content)
        names = {
            step
            for _, seed in loader.seeds
            for way in _ways(json.loads(seed), ())
            for step in way
            if isinstance(step, str)
        }
    except (ValueError, RecursionError):
        return ()
    return (*names, "an object", "format")


_CHAIN = {
    "out_channels": "the layer before",
    "blocks": "the layer before",
}  # a width that does not fit is told of the layer that takes it


def _listing(folder):
    return sorted(
        os.path.join(place, name) for place, _, names in os.walk(folder) for name in names
    )


@contextlib.contextmanager
def _alarm():
    def ring(*_):
        raise AssertionError(f"no end within {ASLEEP_S} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, ASLEEP_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def prepared(loader, folder):
    """The folder with everything in it that the loader needs besides its file."""
    for name, content in (*loader.others, *loader.seeds):
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def _json(document):
    return json.dumps(document).encode()


def _spaces():
    from pnas_tf.space.mbconv import MBConvSpace, Stage
    from pnas_tf.space.ops import Identity, MBConv, SepConv
    from pnas_tf.space.tree_cells import TreeCellSpace

    small = MBConvSpace(
        "small",
        8,
        3,
        8,
        8,
        (Stage(8, 2, 1), Stage(16, 1, 2)),
        16,
        (MBConv(3, 3), MBConv(5, 6, True, "hswish")),
    )
    tree = TreeCellSpace(
        "tree",
        8,
        3,
        start_width=8,
        added_width=4,
        stages=1,
        cells=1,
        head_width=16,
        merges=("add",),
        candidates=(Identity(), SepConv(3)),
    )
    return small, tree


def _measurements():
    from pnas_tf.devices.record import Device, Measurement, ModelFacts, ModelRun, Settings

    device, settings = (
        Device("host", "machine", "processor", (1,), "system", "build"),
        Settings("runtime", "1.0", "xnnpack", 1),
    )
    facts = ModelFacts("0" * 64, 100, "float32", (1, 8, 8, 3))
    runs = (
        ModelRun((1e6, 1.1e6), (2e6,), sentinel_ns=5e5),
        ModelRun((1.2e6,), statistic="median", count=9, aggregates_ns={"p95": 1.3e6}),
    )
    return device, settings, Measurement(device, settings, facts, runs)


def document_loaders():
    """Loaders that need no TensorFlow."""
    from upstream_writer import to_upstream

    from pnas_tf.devices.record_file import FORMAT as MEASURED
    from pnas_tf.devices.record_file import load_measurements
    from pnas_tf.interop.latency_yaml import load_upstream_table
    from pnas_tf.interop.net_config import UpstreamNetwork, load_upstream
    from pnas_tf.io.serialization import to_json
    from pnas_tf.latency.calibration import Calibration, CalibrationNetwork
    from pnas_tf.latency.table import Identity, LatencyTable
    from pnas_tf.report.manifest import read_manifest
    from pnas_tf.report.run_files import read_run
    from pnas_tf.run import folder as run_folder
    from pnas_tf.run import settings as run_settings
    from pnas_tf.space.architecture import Architecture, random_architecture
    from pnas_tf.space.ops import MBConv
    from pnas_tf.space.registry import load_space

    small, tree = _spaces()
    plain = dataclasses.replace(small, candidates=(MBConv(3, 3), MBConv(5, 6)))
    networks = [random_architecture(space, seed=1) for space in (small, tree)]
    device, settings, entry = _measurements()
    keys = list(small.distinct_blocks())[:2]
    anchors = [("calibration_00", 1.0, 1.2), ("calibration_01", 2.0, 2.3)]
    calibration = Calibration(1.1, 0.1, 2.0, tuple(CalibrationNetwork(*row) for row in anchors))
    table = LatencyTable(
        Identity(device, settings, "float32", ()),
        dict.fromkeys(keys, entry),
        0.5,
        calibration,
        1.7e9,
        "here",
        {"x": "why"},
    )
    candidates = [[op.key for op in choice.candidates] for choice in small.choice_blocks]
    epoch = {
        "epoch": 0,
        "phase": "joint",
        "loss": 0.5,
        "accuracy": None,
        "probabilities": [[1 / len(block)] * len(block) for block in candidates],
    }
    network = to_upstream(UpstreamNetwork(random_architecture(plain, seed=2), 0.9, 1e-3, 0.1))

    def table_of(folder, path):
        found = LatencyTable.load(path)
        return (
            found.describe(),
            found.warnings(),
            [found.latency_ms(key) for key in found.entries],
            found.to_json(),
        )

    def measurements_of(folder, path):
        return [
            (found.problems, found.spread, found.relative_error, found.to_json())
            for found in load_measurements(path).values()
        ]

    def settings_of(folder, path):
        from pnas_tf import config
        from pnas_tf.cli.flags import Given

        stored = run_settings.read_config(folder)
        kinds = (config.RunConfig, config.DataConfig, config.SearchConfig, config.DeviceConfig)
        given = Given(stored=stored, place=str(path))
        return [given.config(kind) for kind in kinds]

    def resume_log_of(folder, path):
        from pnas_tf.devices.resume_log import ResumeLog

        return ResumeLog(path, device, settings)

    def blocks_of(folder, path):
        network = Architecture.load(path)
        return network.blocks, network.parameters, network.to_json()

    steps = {
        "format": "pnas_tf/steps",
        "version": 3,
        "steps": {
            "search": {"inputs": "0" * 64, "outputs": {"a.json": "1" * 64}, "duration_s": 1.5}
        },
    }
    stored = {
        "format": "pnas_tf/config",
        "version": 2,
        "DataConfig": {"dataset": "digits", "alpha_fraction": 0.2, "alpha_size": None},
        "SearchConfig": {"algorithm": "two_path", "search_epochs": 3},
        "DeviceConfig": {"device": "host", "threads": 1},
    }
    resume_log = b"".join(
        _json(row) + b"\n"
        for row in (
            {
                "format": "pnas_tf/visits",
                "version": 2,
                "device": to_json(device),
                "settings": to_json(settings),
            },
            *({"model": "a", "sha256": "0" * 64, "visit": to_json(run)} for run in entry.runs),
        )
    )
    run = (
        (
            "summary.json",
            _json(
                {
                    "dataset": "digits",
                    "test_accuracy": {"keras": 0.9},
                    "device": {"device": {"cores": [1]}},
                }
            ),
        ),
        (
            "validation.json",
            _json({"mape_percent": 1.0, "pairs": [{"predicted_ms": 1.0, "measured_ms": 1.1}] * 2}),
        ),
        (
            "sweep.json",
            _json(
                {
                    "networks": [
                        {
                            "budget_ms": 1.0,
                            "predicted_ms": 0.9,
                            "alpha_accuracy": 0.5,
                            "architecture": "a.json",
                        }
                    ]
                }
            ),
        ),
        (
            "search/history.json",
            _json(
                {
                    "format": "pnas_tf/search_history",
                    "version": 1,
                    "candidates": candidates,
                    "epochs": [epoch],
                }
            ),
        ),
        (
            "train/history.json",
            _json(
                {
                    "format": "pnas_tf/train_history",
                    "version": 1,
                    "epochs": [{"epoch": 0, "loss": 0.5}],
                }
            ),
        ),
    )
    yaml = b"""Conv-input:8x8x3-output:4x4x8: {count: 200, mean: 6.0, var: 0.1}
Conv_1-input:2x2x16-output:2x2x16: {count: 200, mean: 3.0}
Logits-input:2x2x16-output:3:
  count: 200
  mean: 1.5
"""
    measured = {
        "format": MEASURED,
        "version": 1,
        "device": to_json(device),
        "settings": to_json(settings),
        "measurements": {"model_int8": entry.to_json()},
    }
    manifest = {"format": "pnas_tf/manifest", "version": 1, "models": {"a.tflite": {"sha256": "0"}}}
    documents = (
        Loader(
            "architecture",
            tuple(("architecture.json", _json(network.to_json())) for network in networks),
            blocks_of,
        ),
        Loader(
            "space",
            tuple(
                (
                    "space.json",
                    _json({"format": "pnas_tf/space", "version": 1, "space": space.to_json()}),
                )
                for space in (small, tree)
            ),
            lambda folder, path: load_space(path).topology,
        ),
        Loader(
            "net_config",
            (("net.config", _json(network)),),
            lambda folder, path: load_upstream(path, resolution=8).architecture.blocks,
        ),
        Loader("latency_table", (("latency_table.json", _json(table.to_json())),), table_of),
        Loader("measurements", (("latency.json", _json(measured)),), measurements_of),
        Loader("run_settings", (("config.json", _json(stored)),), settings_of),
        Loader(
            "steps",
            (("steps.json", _json(steps)),),
            lambda folder, path: run_folder.RunFolder(folder).steps(),
        ),
        Loader(
            "manifest",
            (("manifest.json", _json(manifest)),),
            lambda folder, path: read_manifest(folder),
        ),
        Loader(
            "run_files",
            run,
            lambda folder, path: read_run(folder),
            others=(("architecture.json", _json(networks[0].to_json())),),
        ),
    )
    outputs = [
        (path.name, path.read_bytes())
        for path in sorted((HERE.parent / "devices/tool_outputs").glob("*.txt"))
        if path.stat().st_size < 20_000
        and b"Inference" in path.read_bytes()
        and "failed" not in path.name
    ]
    return (
        *(dataclasses.replace(loader, is_json=True) for loader in documents),
        Loader(
            "original_table",
            (("pixel.yaml", yaml),),
            lambda folder, path: load_upstream_table(path, space=small, device="x"),
        ),
        Loader("resume_log", (("visits.jsonl", resume_log),), resume_log_of),
        Loader("tool_output", tuple(outputs), _tool_output, names_file=False),
    )


def _tool_output(folder, path):
    from pnas_tf.devices.benchmark_tool.op_profile import parse_profile
    from pnas_tf.devices.benchmark_tool.output import parse_report
    from pnas_tf.devices.cores import parse_cores, taskset_mask
    from pnas_tf.devices.thermal import parse_thermal

    text = path.read_bytes().decode("utf-8", "replace")
    parse_thermal(text).clock_mhz((0, 1))
    parse_thermal("pnas_tf-thermal thermalservice\n" + text)
    taskset_mask(parse_cores(text).big(4))
    try:
        parse_profile(text)
    finally:
        json.dumps(parse_report(text).inference.best(), allow_nan=False)


def binary_loaders():
    """Loaders of what libraries in C++ read: TensorFlow Lite, HDF5, PyTorch, images, archives."""
    from pnas_tf.io import isolated

    isolated.CPU_S = 2  # for files of 3 KB; some make the runtime run forever
    return (
        _tflite(),
        _files_of_tflite(),
        _checkpoint(),
        *_keras_weights(),
        _pytorch(),
        _images(),
        _parity(),
    )


def _tflite():
    from pnas_tf.latency.measure_files import described
    from pnas_tf.tflite.inspect import describe, inspect_model
    from pnas_tf.tflite.metadata import Metadata, write_metadata

    seeds = []
    for dtype in ("float32", "int8"):
        content = (HERE / f"standin/tiny_{dtype}.tflite").read_bytes()
        classes = _classes(content)
        labels = tuple(f"label {number}" for number in range(classes))
        seeds += [
            content,
            write_metadata(
                content,
                Metadata("tiny", labels, (127.5,), (127.5,), files={"architecture.json": b"{}"}),
            ),
        ]

    def look(folder, path):
        json.dumps(inspect_model(path).to_json(), allow_nan=False)
        describe(inspect_model(path))
        return described(path)

    return Loader("tflite", tuple(("model.tflite", seed) for seed in seeds), look)


def _classes(content):
    from pnas_tf.tflite.model import TfliteModel

    return TfliteModel(content).contents.outputs[0].shape[-1]


def _files_of_tflite():
    import zipfile

    from pnas_tf.tflite.associated_files import read_files

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("labels.txt", "a\nb\n")
        archive.writestr("notes.txt", "text " * 40, zipfile.ZIP_DEFLATED)
    return Loader(
        "associated_files",
        (("model.tflite", stream.getvalue()),),
        lambda folder, path: read_files(path.read_bytes(), where=str(path)),
    )


def _checkpoint():
    import tempfile

    from pnas_tf.run.checkpoints import Checkpoints, read_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        path = Checkpoints(folder).save(
            3,
            {
                "variable/kernel:0": np.arange(6, dtype=np.float32).reshape(2, 3),
                "counter": np.array(7),
            },
            {"step": 3, "history": [{"loss": 0.5}]},
        )
        seed = path.read_bytes()

    def read(folder, path):
        found = read_checkpoint(path)
        assert Checkpoints(folder).latest() is not None
        return found

    return Loader("checkpoint", (("step-0000000003.npz", seed),), read)


def _keras_weights():
    import tempfile

    import tf_keras as keras

    from pnas_tf.networks.weight_files import load_keras_weights

    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, name="head/mix")], name="small"
    )
    loaders = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("w.weights.h5", "w.h5", "w.keras"):
            path = Path(folder) / name
            model.save(path, save_format="keras") if name.endswith("keras") else model.save_weights(
                path
            )
            loaders.append((name, path.read_bytes()))

    def load(folder, path):
        before = model.get_weights()
        try:
            load_keras_weights(model, path)
        except UserError:
            assert all(
                np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)
            ), "half loaded"
            raise
        assert all(np.isfinite(weight).all() for weight in model.get_weights())

    return [
        Loader(f"keras_{name.split('.', 1)[1]}", ((name, seed),), load) for name, seed in loaders
    ]


def _pytorch():
    import collections

    import torch

    from pnas_tf.interop.checkpoint import read_state_dict

    seeds = []
    for zipped in (True, False):
        stream = io.BytesIO()
        content = collections.OrderedDict(
            a=torch.arange(6, dtype=torch.float32).reshape(2, 3), b=torch.ones(2)
        )
        torch.save({"state_dict": content}, stream, _use_new_zipfile_serialization=zipped)
        seeds.append(("weights.pth", stream.getvalue()))
    return Loader("pytorch", tuple(seeds), lambda folder, path: read_state_dict(path))


def _images():
    from PIL import Image

    from pnas_tf.data.folders import open_images
    from pnas_tf.data.opening import _read_files

    seeds = []
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 8, 3), np.uint8))
    for suffix in ("jpg", "png", "bmp", "gif"):
        stream = io.BytesIO()
        pixels.save(stream, {"jpg": "JPEG"}.get(suffix, suffix.upper()))
        seeds.append((f"{suffix}/cat/picture.{suffix}", stream.getvalue()))

    def look(folder, path):
        root = path.parent.parent
        found = open_images(f"folder:{root}", skip_unreadable=False)
        return _read_files(found.train, str(root), 4)

    others = tuple(
        (f"{suffix}/dog/picture.gif", seeds[-1][1]) for suffix in ("jpg", "png", "bmp", "gif")
    )
    return Loader("images", tuple(seeds), look, others=others)


def _parity():
    from pnas_tf.tflite.parity_report import ParityReport, load_reports

    report = ParityReport("int8", 10, 0.1, 0.01, 3.0, 0.99, 0.9, 0.9, 1000).to_json()
    both = {"validation": report, "test": report}
    document = {"format": "pnas_tf/parity", "version": 2, "models": {"model_int8.tflite": both}}
    return Loader(
        "parity",
        (("parity.json", _json(document)),),
        lambda folder, path: load_reports(path),
        is_json=True,
    )
