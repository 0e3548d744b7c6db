"""Steps as data: every file that one reads is written before, and every option that matters is part
of the identity of the steps that take it."""

import dataclasses
from types import SimpleNamespace

import pytest
from option_values import another_value

from pnas_tf import config as options
from pnas_tf.config import (
    DeriveConfig,
    DeviceConfig,
    ExportConfig,
    LatencyConfig,
    PretrainedConfig,
    SearchConfig,
    SweepConfig,
    TrainConfig,
)
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.settings import Configs, fixed_of
from pnas_tf.run.step import digest_of
from pnas_tf.space.mbconv import tiny
from pnas_tf.steps.architecture import ARCHITECTURE
from pnas_tf.steps.footprint import file_options
from pnas_tf.steps.inputs import Inputs, by_name
from pnas_tf.steps.pipeline import PIPELINE
from pnas_tf.steps.programs import PROGRAMS, STEPS

# All but the one that takes a network in the place of a search, and is refused beside one.
SEARCHED = [step for step in STEPS if step is not ARCHITECTURE]
KINDS = [kind for kind in vars(options).values() if dataclasses.is_dataclass(kind)]
# Settings under which every class of options matters to the steps that list it, but the formats to
# the int8 table, which only asks whether it is wanted.
ALL = [
    SearchConfig(algorithm="reinforce", rl_latency="device"),
    TrainConfig(init="inherit"),
    SweepConfig(sweep=("1",)),
    DeriveConfig(max_ram_kb=64, max_size_kb=128),
]
IDENTITY = [
    pytest.param(kind, field, id=f"{kind.__name__}-{field.name}")
    for kind in KINDS
    for field in dataclasses.fields(kind)
    if field.name != "run_dir"
]


def configs_of(*changed):
    return Configs([*(kind() for kind in KINDS), *ALL, *changed])


def job_of(step, folder, configs):
    job = Inputs(RunFolder(folder), configs.only(step.configs))
    dataset = SimpleNamespace(identity="images")
    data = SimpleNamespace(class_names=("a", "b"))
    vars(job).update(space=tiny(), dataset=dataset, network_dataset=dataset, data=data)
    return job


@pytest.fixture
def folder(tmp_path):
    """A run folder in which every step has left its files."""
    (tmp_path / "run").mkdir()
    for step in STEPS:
        leave(tmp_path / "run", step.writes(job_of(step, tmp_path / "run", configs_of())))
    return tmp_path / "run"


def leave(folder, names, text=""):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def digests(folder, *changed):
    configs = configs_of(*changed)
    return {step.name: digest_of(step.inputs(job_of(step, folder, configs))) for step in STEPS}


def other(kind, field):
    """A config object with another value of one option."""
    base = next((one for one in ALL if type(one) is kind), kind())
    value = "android" if field.name == "device" else another_value(base, field.name)
    return dataclasses.replace(base, **{field.name: value})


def test_names_and_files_are_of_one_step_each():
    assert len({step.name for step in STEPS}) == len(STEPS)
    assert all(len(set(step.configs)) == len(step.configs) for step in STEPS)


@pytest.mark.parametrize("step", SEARCHED, ids=lambda step: step.name)
def test_what_a_step_reads_is_written_before_or_the_users(step, tmp_path):
    own = tmp_path / "mine.json"
    own.write_text("{}")
    configs = configs_of(
        dataclasses.replace(ALL[0], also=(f"{own}=40",)), DeviceConfig(benchmark_binary=str(own))
    )
    run, written = tmp_path / "run", set()
    run.mkdir()
    for before in SEARCHED[: SEARCHED.index(step)]:
        names = before.writes(job_of(before, run, configs))
        assert not written & set(names), "two steps write one file"
        leave(run, names)
        written.update(map(str, names))
    for path in step.reads(job_of(step, run, configs)):
        assert path == own or str(path.relative_to(run)) in written
    partial = {name for other in STEPS for name in other.partial}
    assert set(step.partial) <= partial and written.isdisjoint(partial)


def of_files(kind, name):
    """The steps for which an option counts where a budget is of a file, by what their identity
    says of it."""
    if (kind, name) == (DeriveConfig, "size_dtype"):
        return {"footprint"}
    decides = kind is ExportConfig and name in file_options(ExportConfig())
    return {"footprint", "derive", "sweep"} if decides else set()


@pytest.mark.parametrize("kind, field", IDENTITY)
def test_an_option_is_part_of_the_identity_of_the_steps_that_take_it(folder, kind, field):
    """Fixed and remaking ones of all of them and of no other, any other option of none."""
    (folder / "mine").write_text("")  # files that options name are read, and count by content
    before = digests(folder)
    matters = field.metadata["fixed"] or field.metadata["remakes"]
    counts = {
        step.name
        for step in STEPS
        if kind in step.configs
        and kind not in (*step.indirect, *step.unused(job_of(step, folder, configs_of())))
    } | of_files(kind, field.name)
    named_files = {"also", "benchmark_binary", "architectures", "models", "original_table"}
    named_files |= {"pretrained", "prior", "old_table", "teacher"}
    if field.name in named_files:
        return  # test_files_that_options_name_count_by_content
    changed = {
        name
        for name, digest in digests(folder, other(kind, field)).items()
        if digest != before[name]
    }
    assert changed == (counts if matters else set())


def test_formats_and_sweeps_write_other_files():
    """The int8 table takes a class without its identity, and so does a network that is only checked
    against weights; memory on a microcontroller is that of no device of the run."""
    unused = {
        step.name: kinds
        for step in STEPS
        if (kinds := set(step.unused(job_of(step, "run", configs_of()))) & set(step.configs))
    }
    assert unused == {
        "latency_table_int8": {ExportConfig},
        "architecture": {PretrainedConfig},
        "memory": {DeviceConfig},
    }


def test_a_published_table_is_not_read_as_that_of_another_format(folder):
    (step,) = (each for each in STEPS if each.name == "latency_table_int8")
    published = LatencyConfig(original_table="pixel.yaml")
    assert step.wanted(job_of(step, folder, configs_of()))
    assert not step.wanted(job_of(step, folder, configs_of(published)))


@pytest.mark.parametrize(
    "config, steps",
    [
        (
            lambda path: dataclasses.replace(ALL[0], also=(f"{path}=40",)),
            "search effects derive sweep",
        ),
        (
            lambda path: DeviceConfig(benchmark_binary=path),
            "latency_table search latency_table_int8 benchmark validate",
        ),
        (lambda path: options.ValidateConfig(architectures=(path,)), "validate"),
        (lambda path: options.BenchmarkConfig(models=(path,)), "benchmark memory"),
        (lambda path: LatencyConfig(original_table=path), "latency_table latency_table_int8"),
    ],
)
def test_files_that_options_name_count_by_content(folder, tmp_path, config, steps):
    path = tmp_path / "mine.file"
    path.write_text("before")
    before = digests(folder, config(str(path)))
    assert digests(folder, config(str(path))) == before
    path.write_text("after")
    after = digests(folder, config(str(path)))
    assert {name for name in after if after[name] != before[name]} == set(steps.split())


@pytest.mark.parametrize(
    "kind, name, values",
    [
        (options.PretrainedConfig, "pretrained", ("runs/x", "/elsewhere/x/", "x")),
        (TrainConfig, "teacher", ("runs/x.keras", "./x.keras")),
        (SearchConfig, "also", (("a/phone.json=40",), ("b/c/phone.json=40",))),
        (LatencyConfig, "original_table", ("mobile.yaml", "../mobile.yaml")),
        (options.SpaceConfig, "space", ("mine.json", "spaces/mine.json")),
    ],
)
def test_the_place_of_a_file_is_no_part_of_a_steps_identity(kind, name, values):
    counted = [fixed_of(kind(**{name: value}))[name] for value in values]
    assert all(each == counted[0] for each in counted)
    assert fixed_of(kind())[name] != counted[0]


@pytest.mark.parametrize(
    "files, names",
    [
        (("a/one.tflite", "b/two.tflite", "a/one.tflite"), ["one", "two"]),
        (("a/one.tflite", "b/one.tflite"), ["a/one.tflite", "b/one.tflite"]),
    ],
)
def test_files_of_one_name_are_told_apart_by_their_places(files, names):
    assert list(by_name(files)) == names
    assert set(map(str, by_name(files).values())) == set(files)


def test_every_artifact_counts_for_the_steps_that_read_it(folder):
    """Rewriting what a step leaves changes exactly the steps that read it."""
    for step in SEARCHED:
        for name in step.writes(job_of(step, folder, configs_of())):
            before = digests(folder)
            leave(folder, [name], "another content")
            after = digests(folder)
            assert {other for other in after if after[other] != before[other]} == {
                other.name
                for other in STEPS
                if folder / name in other.reads(job_of(other, folder, configs_of()))
            }


def test_a_device_matters_to_a_search_that_asks_it(folder):
    plain = SearchConfig()
    moved = DeviceConfig(threads=2)
    assert digests(folder, plain)["search"] == digests(folder, plain, moved)["search"]
    assert digests(folder)["search"] != digests(folder, moved)["search"]


def test_another_runtime_is_another_table(folder, monkeypatch):
    before = digests(folder)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99")
    after = digests(folder)
    assert {name for name in after if after[name] != before[name]} == {
        "latency_table",
        "latency_table_int8",
        "benchmark",
        "memory",
        "validate",
    }


@pytest.mark.parametrize("device", ["android", "android:A,android:B", "ssh:pi@board"])
def test_another_runtime_on_the_host_is_no_other_table_of_a_far_device(folder, monkeypatch, device):
    far = DeviceConfig(device=device)
    before, beside = digests(folder, far), digests(folder, DeviceConfig(device=f"host,{device}"))
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99")
    after = digests(folder, far)
    assert [name for name in after if after[name] != before[name]] == ["memory"]
    now = digests(folder, DeviceConfig(device=f"host,{device}"))
    assert now["latency_table"] != beside["latency_table"]


def test_another_dataset_is_another_search(folder):
    for step in STEPS:
        job = job_of(step, folder, configs_of())
        before = digest_of(step.inputs(job))
        vars(job).update(
            {name: SimpleNamespace(identity="others") for name in ("dataset", "network_dataset")}
        )
        changed = digest_of(step.inputs(job)) != before
        assert changed == (
            step.name in ("footprint", "search", "effects", "derive", "sweep", "train", "export")
        )


def test_a_folder_that_was_moved_is_the_same_run(folder, tmp_path):
    before = digests(folder)
    folder.rename(tmp_path / "moved")
    assert digests(tmp_path / "moved") == before


def test_a_step_cannot_use_an_option_that_it_does_not_take(tmp_path):
    for step in STEPS:
        job = job_of(step, tmp_path, configs_of())
        for kind in set(KINDS) - set(step.configs):
            with pytest.raises(KeyError):
                job.configs[kind]


def test_the_programs_do_all_steps():
    run = next(program for program in PROGRAMS if program.command == "run")
    assert run.steps == PIPELINE
    singly = {step.name for program in PROGRAMS if program is not run for step in program.steps}
    assert singly | {"latency_table_int8"} == {step.name for step in STEPS}
