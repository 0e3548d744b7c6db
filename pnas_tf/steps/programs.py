"""What a user calls: `pnas COMMAND`, and tools/TOOL.py of a checkout. Each does steps of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pnas_tf import _tf_private
from pnas_tf.config import (
    DataConfig,
    DeriveConfig,
    DistributionConfig,
    OutputConfig,
    PublishConfig,
    RunConfig,
)
from pnas_tf.errors import UserError
from pnas_tf.options import asked_options, check_heeded
from pnas_tf.run.follower import RunFollower
from pnas_tf.run.processors import hold_tensorflow
from pnas_tf.run.settings import Configs
from pnas_tf.run.step import Step
from pnas_tf.run.terminal import say
from pnas_tf.steps import (
    architecture,
    benchmark,
    calibrate,
    closing,
    compare,
    derive,
    effects,
    export,
    footprint,
    inspect,
    latency_table,
    learn_prior,
    memory,
    pipeline,
    publish,
    search,
    specialise,
    train,
    try_model,
    validate,
)
from pnas_tf.steps.chosen_space import tell_space
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.requests import check_requests


def _nothing(call: Inputs) -> None:
    del call


@dataclass(frozen=True)
class Program:
    """A command line.

    Attributes:
        command: of the console script.
        tool: file name in tools/, without .py.
        purpose: half a line.
        doc: what --help says before the options.
        steps: that it does.
        more: classes of options besides those of the steps.
        begin: called before the steps, where this process holds the run folder.
        close: called after them, likewise.
        fresh: of these, classes of which the run folder's values do not count.
        takes_file: does it all instead, for a program that has a file and no run folder.
    """

    command: str
    tool: str
    purpose: str
    doc: str | None
    steps: tuple[Step[Inputs], ...] = ()
    more: tuple[type, ...] = ()
    begin: Callable[[Inputs], None] = _nothing
    close: Callable[[Inputs], None] = closing.close_network
    fresh: tuple[type, ...] = ()
    takes_file: Callable[[], int] | None = None

    @property
    def configs(self) -> tuple[type, ...]:
        """Classes of all its options, each once."""
        if self.takes_file is not None:
            return ()
        of_steps = (kind for step in self.steps for kind in step.configs)
        return tuple(dict.fromkeys((RunConfig, OutputConfig, *of_steps, *self.more)))

    def run(self, call: Inputs, usual: Configs | None = None) -> int:
        """Does it in the run folder of `call`. usual: its options without those that were given.
        Returns the exit status."""
        self.check(call)
        todo = pipeline.steps_to_do(self.steps, call)
        if usual is not None:
            self.check_in_use(call, usual)
        self.prepare(todo, call)
        status = self.work(todo, call)
        if usual is not None and not isinstance(call.folder, RunFollower):
            closing.tell_idle(todo, call, usual)
        return status

    def prepare(self, todo: Sequence[Step[Inputs]], call: Inputs) -> None:
        """Loads TensorFlow, and looks at files, devices and images. Raises UserError where a step
        cannot do what the options ask for."""
        pipeline.check_files(todo, call)
        hold_tensorflow()
        words = _tf_private.load_quietly() if DataConfig in call.configs else ""
        if DistributionConfig in call.configs:  # before anything of TensorFlow runs
            from pnas_tf.training.devices_used import device_lines

            for line in device_lines(call.distribution, words):
                say(line)
        pipeline.check_steps(todo, call)
        if not isinstance(call.folder, RunFollower):
            self.begin(call)

    def work(self, todo: Sequence[Step[Inputs]], call: Inputs) -> int:
        """Does the steps, which were prepared. Returns the exit status."""
        fitted = pipeline.fit_options(todo, call)
        status = pipeline.run_steps(todo, fitted)
        if not isinstance(call.folder, RunFollower):
            self.close(fitted)
        return status

    def check(self, call: Inputs) -> None:
        """Raises UserError on options that no step can use."""
        is_given = call.given is not None  # images, whose options are then nobody's
        own = (each for each in call.configs if not (is_given and isinstance(each, DataConfig)))
        check_requests(Configs(own))

    def check_in_use(self, call: Inputs, usual: Configs) -> None:
        """Raises UserError on an option that was given and does nothing, beside the others or since
        no step would look at it: whoever gave it believes that it does something. usual: options
        without those."""
        for config in call.configs:
            check_heeded(config, usual[type(config)])
        todo = [each for each in self.steps if each.wanted(call.only(each.configs))]
        used = {type(config) for step in todo for config in step.settings(call.only(step.configs))}
        kinds = (kind for step in self.steps for kind in step.configs if kind not in used)
        for kind in dict.fromkeys(kinds):
            now: object = call.configs[kind]
            for name, value in asked_options(usual[kind], now).items():
                before = {name: getattr(usual[kind], name)}
                without = dataclasses.replace(now, **before)  # type: ignore[type-var]
                other = Inputs(call.folder, call.configs.replaced([without]), call.given)
                if [each for each in self.steps if each.wanted(other.only(each.configs))] != todo:
                    continue  # it decides which steps there are
                raise UserError(
                    f"--{name}",
                    expected=f"options that matter to {', '.join(step.name for step in todo)}",
                    received=f"{value!r}, which nothing here looks at",
                    fix=f"Leave it out. It matters {' or '.join(self._uses(kind))}.",
                )

    def _uses(self, kind: type) -> Iterator[str]:
        """Where options of a class matter that do not here."""
        yield from dict.fromkeys(
            f"with {step.asked_by}" for step in self.steps if kind in step.configs and step.asked_by
        )
        yield from (
            f"to `pnas {program.command}`"
            for program in PROGRAMS
            for step in program.steps[:1]
            if program is not self and kind in step.configs and not step.asked_by
        )


PROGRAMS = (
    Program(
        "run",
        "push_button",
        "the whole way: dataset and latency in, a measured .tflite out",
        pipeline.__doc__,
        pipeline.PIPELINE,
        begin=pipeline.check_run,
        close=closing.close_run,
    ),
    Program(
        "latency-table",
        "build_latency_table",
        "measures the blocks of a space on a device",
        latency_table.__doc__,
        (latency_table.LATENCY_TABLE,),
        begin=tell_space,
    ),
    Program(
        "calibrate",
        "calibrate",
        "estimates that table from a few measured networks",
        calibrate.__doc__,
        (latency_table.LATENCY_TABLE,),
        begin=calibrate.begin,
    ),
    Program(
        "learn-prior",
        "learn_prior",
        "learns from tables of several devices what a new one is like",
        learn_prior.__doc__,
        takes_file=learn_prior.main,
    ),
    Program(
        "search",
        "search",
        "learns an architecture, and derives it",
        search.__doc__,
        (footprint.FOOTPRINT, search.SEARCH, effects.EFFECTS, derive.DERIVE, derive.SWEEP),
        begin=tell_space,
    ),
    Program(
        "specialise",
        "specialise",
        "another device or budget from a search that is there",
        specialise.__doc__,
        more=specialise.CONFIGS,
        begin=specialise.check_specialise,
        close=specialise.specialise,
        fresh=(DeriveConfig,),
    ),
    Program(
        "train",
        "train",
        "trains the derived network, or fine-tunes another",
        train.__doc__,
        (architecture.ARCHITECTURE, train.TRAIN),
    ),
    Program(
        "export",
        "export",
        "writes .tflite files, proven equal to the network",
        export.__doc__,
        (export.EXPORT,),
    ),
    Program(
        "benchmark",
        "benchmark",
        "measures .tflite files on a device",
        benchmark.__doc__,
        (benchmark.BENCHMARK, memory.MEMORY),
    ),
    Program(
        "validate",
        "validate",
        "compares predicted with measured latency on random networks",
        validate.__doc__,
        (validate.VALIDATE,),
    ),
    Program(
        "inspect",
        "inspect",
        "shows what stands in a .tflite file",
        inspect.__doc__,
        takes_file=inspect.main,
    ),
    Program(
        "compare",
        "compare",
        "puts finished runs beside one another",
        compare.__doc__,
        takes_file=compare.main,
    ),
    Program(
        "try",
        "try_model",
        "runs the exported models in your browser",
        try_model.__doc__,
        takes_file=try_model.main,
    ),
    Program(
        "publish",
        "publish",
        "copies a finished run's models, with their manifest",
        publish.__doc__,
        more=(PublishConfig,),
        close=publish.publish_run,
    ),
)

# Of all programs, each once: those of the pipeline in its order, then what has its own program.
STEPS = tuple(dict.fromkeys(step for program in PROGRAMS for step in program.steps))


def program_of(name: str) -> Program:
    """By its command, or by the name of its tool."""
    return next(program for program in PROGRAMS if name in (program.command, program.tool))
