"""The command that makes a run again: of each kind of run, by what its folder holds."""

import dataclasses

import numpy as np
import pytest

import pnas_tf as pnas
from pnas_tf import config, fitting
from pnas_tf.report.reproduce import _NOT_OF_RUN, _OF_SPECIALISE, _PROGRAMS, command_of
from pnas_tf.report.run_files import RunFiles
from pnas_tf.run.settings import read_config, write_config
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.mbconv import tiny
from pnas_tf.steps.programs import program_of

SETTINGS = {
    "RunConfig": {"seed": 3, "tensorboard": True, "preset": "published"},
    "DataConfig": {"dataset": "folder:my photos", "alpha_fraction": 0.2, "data_dir": "/mine"},
    "SearchConfig": {"search_epochs": 9, "target_latency_ms": "0.2"},
    "DeriveConfig": {"max_latency_ms": 12.0},
    "ExportConfig": {"formats": ["float32", "int8"], "licence": "mit"},
    "TrainConfig": {"epochs": 7},
    "ConversionConfig": {"convert_workers": 4},
    "BenchmarkConfig": {"sustained": "5m", "models": ["a.tflite"]},
    "ValidateConfig": {"networks": 5},
}


def run_of(settings, **fields):
    return RunFiles(None, random_architecture(tiny(), seed=1), settings=settings, **fields)


def test_every_program_takes_the_options_that_a_command_gives_it():
    kinds = {kind for kind in vars(config).values() if dataclasses.is_dataclass(kind)}
    known = {kind.__name__: kind for kind in kinds}
    for name, classes in {**_PROGRAMS, "specialise": _OF_SPECIALISE}.items():
        assert {known[each] for each in classes} <= set(program_of(name).configs)
    assert {known[each] for each in _NOT_OF_RUN} == kinds - set(program_of("run").configs)


def test_a_run_is_made_again_by_pnas_run():
    assert command_of(run_of(SETTINGS, origin="searched")) == (
        "pnas run --run_dir=runs/again --seed=3 '--dataset=folder:my photos' "
        "--target_latency_ms=0.2 --search_epochs=9 --max_latency_ms=12.0 --licence=mit --epochs=7 "
        "--convert_workers=4 --sustained=5m"
    )


def test_a_network_that_was_not_searched_is_made_again_by_single_programs():
    settings = {**SETTINGS, "ArchitectureConfig": {"architecture": "efficientnet_lite0"}}
    assert command_of(run_of(settings)) == (
        "pnas train --run_dir=runs/again --seed=3 '--dataset=folder:my photos' "
        "--architecture=efficientnet_lite0 --epochs=7"
        " && pnas export --run_dir=runs/again --licence=mit"
        " && pnas benchmark --run_dir=runs/again --convert_workers=4 --sustained=5m"
    )
    assert command_of(run_of(settings, origin="searched")).startswith("pnas run ")


@pytest.mark.parametrize("table", ["phone.json", ""])
def test_a_specialised_network_is_made_again_from_the_same_supernet(table):
    origin = {"from": "runs/demo", "table": table}
    flag = f" --table={table}" if table else ""
    assert command_of(run_of(SETTINGS, origin="searched", specialised=origin)) == (
        f"pnas specialise --run_dir=runs/demo --out=runs/again{flag} --target_latency_ms=0.2 "
        "--max_latency_ms=12.0 --licence=mit && pnas train --run_dir=runs/again --seed=3 "
        "'--dataset=folder:my photos' --epochs=7 && pnas export --run_dir=runs/again"
        " && pnas benchmark --run_dir=runs/again --convert_workers=4 --sustained=5m"
    )


def test_options_of_a_later_version_are_at_their_defaults():
    """None of the lists among them either, whose default is a tuple."""
    settings = {name: {} for name in ("SearchConfig", "ExportConfig", "SweepConfig")}
    assert command_of(run_of(settings, origin="searched")) == "pnas run --run_dir=runs/again"


@pytest.mark.parametrize("tested", [False, True])
def test_images_that_only_the_caller_had_are_given_in_python(tmp_path, monkeypatch, tested):
    """The call gives fit what it was given."""
    images, labels = np.zeros((30, 8, 8, 3), np.uint8), np.arange(30) % 3
    split = config.DataConfig(alpha_fraction=0.25)
    own = {"test_images": images[:3], "test_labels": labels[:3]} if tested else {}
    test = tuple(own.values()) or None
    data = pnas.data.from_arrays(images, labels, "abc", test=test, name="shapes", data_config=split)
    options = [config.TrainConfig(epochs=7), config.ExportConfig(formats=("float32",))]
    device = config.DeviceConfig(threads=2)
    kinds = [config.RunConfig(seed=3), data.config, device, *options]
    write_config(tmp_path, {type(each).__name__: dataclasses.asdict(each) for each in kinds})
    asked = []
    monkeypatch.setattr(fitting, "fit", lambda *given, **named: asked.append((given, named)))
    command = command_of(run_of(read_config(tmp_path), origin="searched"))
    exec(command, {"images": images, "labels": labels, "class_names": "abc", **own})
    (((again,), named),) = asked
    assert again.config == data.config
    expected = {"run_dir": "runs/again", "seed": 3, "device": device, "options": options}
    assert named == expected
