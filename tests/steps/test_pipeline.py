"""Steps in their order, by a process alone and by workers of which one is the chief."""

import dataclasses
import threading
from contextlib import nullcontext

import numpy as np
import pytest
from forked_program import contents

from pnas_tf.config import (
    DataConfig,
    DeriveConfig,
    DistributionConfig,
    RunConfig,
    SweepConfig,
    TrainConfig,
)
from pnas_tf.data import from_arrays
from pnas_tf.errors import UserError
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.follower import RunFollower
from pnas_tf.run.settings import Configs
from pnas_tf.run.step import Demand, Step
from pnas_tf.space.published import published
from pnas_tf.steps.derive import DERIVE, SWEEP
from pnas_tf.steps.footprint import FOOTPRINT
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.pipeline import (
    check_files,
    check_steps,
    fit_options,
    idle_views,
    run_steps,
    steps_to_do,
)
from pnas_tf.steps.programs import Program
from pnas_tf.steps.train import TRAIN
from pnas_tf.supernet.replicas import Replicas
from pnas_tf.training.distribution import Distribution

CONFIGS = Configs([RunConfig()])


def chain(names, log):
    """A step for each letter, that reads what the one before wrote; capitals are of all
    workers together."""
    steps = []
    for number, name in enumerate(names):

        def run(job, name=name):
            log.append((type(job.folder).__name__, name))
            if isinstance(job.folder, RunFolder):
                (job.folder / name).write_text(name)

        def reads(job, before=names[:number][-1:]):
            return [job.folder / before] if before else []

        steps.append(
            Step(
                name,
                (RunConfig,),
                run,
                writes=lambda _, name=name: (name,),
                reads=reads,
                together=name.isupper(),
            )
        )
    return steps


def do(steps, folder):
    with folder:
        return run_steps(steps_to_do(steps, Inputs(folder, CONFIGS)), Inputs(folder, CONFIGS))


def test_each_step_once_in_their_order(tmp_path):
    log = []
    steps = chain("abc", log)
    assert do(steps, RunFolder(tmp_path)) == do(steps, RunFolder(tmp_path)) == 0
    assert log == [("RunFolder", name) for name in "abc"]
    (tmp_path / "a").write_text("edited")  # made again as it was: what reads it stays
    do(steps, RunFolder(tmp_path))
    assert log[3:] == [("RunFolder", "a")]


def test_a_step_that_is_not_wanted_is_left_out_and_the_worst_status_counts(tmp_path):
    log = []
    a, b, c = chain("abc", log)
    steps = [
        dataclasses.replace(a, report=lambda _: 3),
        dataclasses.replace(b, wanted=lambda _: False),
        dataclasses.replace(c, reads=lambda _: []),
    ]
    assert do(steps, RunFolder(tmp_path)) == 3 and [name for _, name in log] == ["a", "c"]


def test_a_later_step_refuses_before_the_first_one_runs(tmp_path):
    def refuse(job):
        raise UserError("refused", expected="", received="", fix="")

    log = []
    first, last = chain("ab", log)
    with pytest.raises(UserError, match="refused"):
        do([first, dataclasses.replace(last, check=refuse)], RunFolder(tmp_path / "run"))
    assert log == [] and not (tmp_path / "run").exists()


def test_a_step_is_not_judged_by_what_one_before_it_may_make_anew(tmp_path):
    """As the derivation by the latency table that --restart replaces."""
    seen, log = [], []
    first, last = chain("ab", log)
    steps = [first, dataclasses.replace(last, check=lambda job: seen.append(job.has("a")))]
    do(steps, RunFolder(tmp_path))
    assert seen == [False, True]
    do(steps, RunFolder(tmp_path))
    assert seen[2:] == [False, True] and len(log) == 2


def test_limits_wait_for_the_footprint_and_the_table_of_the_same_call(tmp_path, monkeypatch):
    monkeypatch.setattr("pnas_tf.steps.derive._limits", lambda _: pytest.fail("judged"))
    kinds = dict.fromkeys(kind for step in (FOOTPRINT, DERIVE, SWEEP) for kind in step.configs)
    options = DeriveConfig(max_size_kb=300, size_dtype="float32"), SweepConfig(("5",))
    call = Inputs(RunFolder(tmp_path), Configs([*(kind() for kind in kinds), *options]))
    for name in ("latency_table.json", "footprint.json"):
        (tmp_path / name).touch()
    table = Step("table", (RunConfig,), print, writes=lambda _: ("latency_table.json",))
    check_steps((table, DERIVE, SWEEP), call)
    check_steps((FOOTPRINT, DERIVE), call)
    with pytest.raises(pytest.fail.Exception, match="judged"):
        check_steps((DERIVE,), call)


def test_inherited_weights_may_come_from_the_search_of_the_same_call(tmp_path):
    call = Inputs(
        RunFolder(tmp_path),
        Configs([*(kind() for kind in TRAIN.configs), TrainConfig(init="inherit")]),
    )
    published("efficientnet_lite0").save(tmp_path / "architecture.json")
    search = Step("derive", (RunConfig,), print, writes=lambda _: ("architecture.json",))
    check_steps((search, TRAIN), call)
    with pytest.raises(UserError, match="--init=inherit"):
        check_steps((TRAIN,), call)


@pytest.mark.parametrize("before, refused", [("", True), ("latency_table.json", False)])
def test_a_file_that_no_step_makes_is_missed_before_the_first_one(tmp_path, before, refused):
    log = []
    first, last = chain("ab", log)
    first = dataclasses.replace(first, writes=lambda _: (before or "a",))
    last = dataclasses.replace(last, reads=lambda job: [job.folder / "latency_table.json"])
    call = Inputs(RunFolder(tmp_path), CONFIGS)
    with pytest.raises(UserError, match="latency") if refused else nullcontext():
        check_files([first, last], call)


@pytest.mark.parametrize("batch", [48, 50])
def test_batches_that_replicas_cannot_share_are_refused_before_the_first_step(tmp_path, batch):
    demand = Demand("train", "batch_size", batch)
    step = Step("x", (DataConfig, TrainConfig, DistributionConfig), print, lambda _: ())
    step = dataclasses.replace(step, demands=lambda _: (demand,))
    data = from_arrays(np.zeros((90, 8, 8, 3), np.uint8), np.arange(90) % 3, "abc")
    options = TrainConfig(batch_size=batch), DistributionConfig("mirrored", replicas=3)
    call = Inputs(RunFolder(tmp_path), Configs([data.config, *options]), data)
    replicas = Replicas(("a", "b", "c"), 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "pnas_tf.training.distribution.start", lambda _: Distribution(replicas=replicas)
        )
        with pytest.raises(UserError, match="--batch_size") if batch % 3 else nullcontext():
            fit_options([step], call)


def test_a_request_that_a_step_refuses_is_refused_before_devices_and_data_are_looked_at(tmp_path):
    def refuse(job):
        raise UserError("refused", expected="", received="", fix="")

    def begin(call):
        pytest.fail("looked at")

    step = dataclasses.replace(chain("a", [])[0], check=refuse)
    program = Program("one", "one", "", None, (step,), begin=begin)
    with pytest.raises(UserError, match="refused"), RunFolder(tmp_path / "run") as folder:
        program.run(Inputs(folder, CONFIGS))


def test_the_file_of_another_step_is_not_written_over(tmp_path):
    """As architecture.json, of a network that was given or searched."""
    log = []
    do(chain("a", log), RunFolder(tmp_path))
    before = contents(tmp_path)
    first, last = chain("xy", log)
    instead = dataclasses.replace(last, writes=lambda _: ("a",))
    with pytest.raises(UserError, match="step y in run folder") as refused:
        do([first, instead], RunFolder(tmp_path))
    assert refused.value.received == "that of step a" and [name for _, name in log] == ["a"]
    assert contents(tmp_path) == before
    do(chain("a", log), RunFolder(tmp_path))  # its own it makes and keeps


def test_always_runs_a_complete_step_again(tmp_path):
    log = []
    (step,) = chain("a", log)
    for _ in range(2):
        do([dataclasses.replace(step, always=lambda _: True)], RunFolder(tmp_path))
    do([step], RunFolder(tmp_path))
    assert len(log) == 2


def test_a_follower_does_what_is_done_together_and_waits_for_the_rest(tmp_path):
    theirs, ours = [], []
    follower = RunFollower(tmp_path, wait_s=20)
    thread = threading.Thread(target=lambda: do(chain("aBcDe", theirs), follower))
    thread.start()
    do(chain("aBcDe", ours), RunFolder(tmp_path))
    thread.join(20)
    assert not thread.is_alive() and ours == [("RunFolder", name) for name in "aBcDe"]
    # What the chief had finished when the follower looked is complete for it too.
    assert {name for _, name in theirs} <= {"B", "D"}
    assert {kind for kind, _ in theirs} <= {"RunFollower"}


@pytest.mark.parametrize("resolution, names", [(8, 3), (96, 0)])
def test_options_of_random_crops_are_said_where_none_are_taken(resolution, names):
    """auto shifts and flips small images, and crops large ones."""
    data = DataConfig(min_crop_scale=0.5, distort_color="strong")
    images = np.zeros((30, 8, 8, 3), np.uint8)
    given = from_arrays(images, np.arange(30) % 3, "abc", data_config=data)
    configs = Configs([given.config, TrainConfig(train_distort_color="none")])
    lines = idle_views(configs, given.at(resolution))
    assert len(lines) == names
    assert all(f"is not used at {resolution} px: --augmentation is flip" in line for line in lines)
    assert idle_views(Configs([DataConfig(), TrainConfig()]), given.at(resolution)) == []
