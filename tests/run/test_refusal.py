"""A refusal before anything is made leaves the run folder as it was; the advised command works."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from forked_program import assert_refused, contents, run

from pnas_tf.config import DeviceConfig, RunConfig
from pnas_tf.errors import UserError
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.settings import Configs
from pnas_tf.run.step import Step
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.pipeline import run_steps, steps_to_do

MODEL = Path(__file__).resolve().parents[1] / "support/standin/tiny_float32.tflite"
REFUSED = UserError("no", expected="a", received="b", fix="c")


def step(name, work, *, partial=()):
    return Step(
        name,
        (RunConfig, DeviceConfig),
        work,
        writes=lambda _: (f"{name}.json",),
        partial=partial,
    )


def write(job, name):
    (job.folder / f"{name}.json").write_text("{}")


def refuse(_):
    raise REFUSED


def do(path, steps, config=DeviceConfig()):
    with RunFolder(path) as folder:
        call = Inputs(folder, Configs([RunConfig(), config]))
        return run_steps(steps_to_do(steps, call), call)


def test_a_refused_step_leaves_no_folder(tmp_path):
    with pytest.raises(UserError):
        do(tmp_path / "runs/run", [step("one", refuse)])
    assert not list(tmp_path.iterdir())


def test_what_was_finished_before_stays_and_settings_are_free_again(tmp_path):
    one = step("one", lambda job: write(job, "one"))
    do(tmp_path, [one])
    before = contents(tmp_path)
    with pytest.raises(UserError):
        do(tmp_path, [one, step("two", refuse)])
    assert contents(tmp_path) == before


def test_a_result_that_is_not_made_anew_stays_complete(tmp_path, caplog):
    caplog.set_level(logging.INFO, "pnas_tf")
    """Inputs have changed, and the new ones are refused."""
    one = step("one", lambda job: write(job, "one"))
    do(tmp_path, [one])
    with pytest.raises(UserError):
        do(tmp_path, [replace(one, run=refuse, identity=lambda _: "another")])
    do(tmp_path, [one])
    assert "one: complete, skipped" in caplog.text


def test_what_was_begun_is_recorded(tmp_path):
    """Its settings hold: what lies there depends on them."""

    def begin(job):
        (job.folder / "half").mkdir()
        (job.folder / "half/checkpoint").write_text("1")
        raise REFUSED

    with pytest.raises(UserError):
        do(tmp_path, [step("one", begin, partial=("half",))])
    assert "one" in json.loads((tmp_path / "steps.json").read_text())["steps"]


def test_a_stop_is_no_refusal(tmp_path):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(tmp_path, [step("one", stop)])
    assert (tmp_path / "config.json").exists()


@pytest.mark.slow
def test_another_device_in_the_folder_of_refused_calls(tmp_path):
    flags = [f"--models={MODEL}", "--run_dir=run", "--min_invocations=1"]
    for refused in (
        ["--device=ssh:nobody@nowhere.invalid"],
        ["--device=android:no-such-phone"],
        ["--device=host", "--delegate=gpu"],
        ["--device=host", "--threads=0"],
        ["--device=fridge"],
    ):
        assert_refused(run("benchmark", *refused, *flags, cwd=tmp_path))
        assert not (tmp_path / "run").exists(), refused
    ended = run("benchmark", "--device=host", *flags, cwd=tmp_path)
    assert ended.status == 0, ended.output
