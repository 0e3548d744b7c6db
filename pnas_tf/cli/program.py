"""One way to start and to fail, for all programs.

Exit status: 0 done, 2 refused, 75 another worker was lost (--strategy=multi_worker), 130 stopped by
Ctrl-C or SIGTERM (a search and a training after a checkpoint), 137 likewise but in the middle of a
call that did not end within `process.GRACE_S`, 141 nobody reads the output, 1 what a program's own
docstring says.
"""

from __future__ import annotations

import dataclasses
import logging as standard_logging
import os
import sys
from collections.abc import Callable

from absl import app, flags, logging

from pnas_tf.cli.flags import Given, define_flags, parse
from pnas_tf.cli.help import help_of, is_asked
from pnas_tf.config import DistributionConfig, OutputConfig, RunConfig
from pnas_tf.errors import UserError
from pnas_tf.run.cluster import WorkerLost, cluster_of
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.follower import RunFollower
from pnas_tf.run.layout import Artifact
from pnas_tf.run.os_errors import told
from pnas_tf.run.process import (
    EXIT_INTERRUPTED,
    keep_temporary_files_together,
    open_standard_streams,
    say_last,
    stop_when_asked,
    tell_interrupted,
)
from pnas_tf.run.records import held_options
from pnas_tf.run.settings import Configs, check_taken_back, read_config
from pnas_tf.run.terminal import TERMINAL
from pnas_tf.run.versions import warn_of_versions
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.programs import Program

EXIT_REFUSED = 2
EXIT_BROKEN_PIPE = 141
EXIT_WORKER_LOST = 75  # EX_TEMPFAIL: the same command on all workers continues


def run_program(program: Program) -> None:
    """Runs a program by the arguments in sys.argv, and exits."""
    open_standard_streams()
    if program.takes_file is not None:
        with TERMINAL.speaking():
            status = exit_status(program.takes_file)
        sys.exit(status)
    values = define_flags(program.configs)
    given: list[Given] = []

    def parse_arguments(arguments: list[str]) -> list[str]:
        if is_asked(arguments[1:]):
            sys.exit(exit_status(lambda: print(help_of(program))))
        status = exit_status(lambda: given.append(parse(arguments, values)))
        if status:
            sys.exit(status)
        # absl's own flags keep their defaults, and app.run wants them parsed.
        return flags.FLAGS(arguments[:1])

    def start(_: list[str]) -> None:
        stop_when_asked()
        _silence_libraries()
        with TERMINAL.speaking():
            status = exit_status(lambda: keep_temporary_files_together())
            status = status or exit_status(lambda: _run(program, given[0]))
        sys.exit(status)

    app.run(start, flags_parser=parse_arguments)


def _silence_libraries() -> None:
    """Those that speak through Python's logs, and TensorFlow, speak of errors alone."""
    logging.set_verbosity(logging.ERROR)
    standard_logging.getLogger("tensorflow").setLevel(standard_logging.ERROR)


def _run(program: Program, given: Given) -> int:
    run_dir, output = given.config(RunConfig).run_dir, given.config(OutputConfig)
    TERMINAL.verbose, TERMINAL.quiet = output.verbose, output.quiet
    warn_of_versions()
    with _folder(run_dir, given, program) as folder:
        place = str(folder / Artifact.CONFIG)
        given = dataclasses.replace(
            given, stored=read_config(folder.path), place=place, fresh=program.fresh
        )
        configs, usual, kept = (
            Configs(each.config(kind) for kind in program.configs)
            for each in (given, given.usual, dataclasses.replace(given, flags={}))
        )
        held = {} if configs[RunConfig].restart else held_options(folder.path)
        check_taken_back(folder.path, configs, kept, held)
        return program.run(Inputs(folder, configs), usual)


def _folder(run_dir: str, given: Given, program: Program) -> RunFolder | RunFollower:
    """The run folder, held by this process or followed by a worker that is not the chief."""
    if DistributionConfig in program.configs:
        stored = read_config(run_dir).get(DistributionConfig.__name__, {})
        strategy = given.flags.get("strategy", stored.get("strategy"))
        if strategy == "multi_worker" and not cluster_of().is_chief:
            return RunFollower(run_dir)
    return RunFolder(run_dir)


def exit_status(work: Callable[[], int | None]) -> int:
    """Of `work`, whose errors of the user's and of the machine's are said without a traceback."""
    try:
        return work() or 0
    except UserError as error:
        say_last(error)
        return EXIT_REFUSED
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        return EXIT_BROKEN_PIPE
    except WorkerLost as error:
        say_last(
            f"a worker was lost ({error}); the same command on all workers continues from the "
            "last checkpoint"
        )
        return EXIT_WORKER_LOST
    except KeyboardInterrupt:
        tell_interrupted()
        return EXIT_INTERRUPTED
    except Exception as error:
        mishap = told(error)
        if mishap is None:  # a fault of ours
            raise
        say_last(mishap)
        return EXIT_REFUSED
