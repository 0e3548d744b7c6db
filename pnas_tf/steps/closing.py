"""How programs end: which files their steps have written, and the summary, the report and the model
card of a network that is trained, exported and measured."""

from __future__ import annotations

from collections.abc import Sequence

from pnas_tf.config import DataConfig, RunConfig, SearchConfig, ValidateConfig
from pnas_tf.io import Json
from pnas_tf.options import other_options
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import MODELS_PATTERN, Artifact, run_dir_option
from pnas_tf.run.records import is_current
from pnas_tf.run.settings import Configs, is_free, read_config
from pnas_tf.run.step import Step
from pnas_tf.run.terminal import can_redraw, columns_of_terminal, say, warn
from pnas_tf.space.architecture import Architecture
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.pipeline import PIPELINE
from pnas_tf.steps.search import SEARCH

# Step -> what it leaves of a network.
_LEFT = {
    "train": Artifact.TRAINING_RESULT,
    "export": Artifact.PARITY,
    "benchmark": Artifact.BENCHMARK,
}

# Where the data lie, and a bound that finished figures are held to.
_LOOKED_AT_ANYWAY = {DataConfig, ValidateConfig}


def close_run(call: Inputs) -> None:
    """Writes summary, report, model card and node data of a finished run, anew each time."""
    from pnas_tf.data.file_tree import LEFT_OUT_FILE
    from pnas_tf.report.summary import write_summary
    from pnas_tf.steps.tensorboard import write_run

    assert isinstance(call.folder, RunFolder)
    files, place = call.data.facts.files, call.folder / Artifact.SUMMARY
    before = place.read_bytes() if place.is_file() else b""
    summary = write_summary(
        call.folder,
        dataset=call.configs[DataConfig].dataset,
        objective=call.configs[SearchConfig].objective,
        target=call.targets[0],
        images=files.summary(LEFT_OUT_FILE).splitlines() if files else (),
    )
    changed = place.read_bytes() != before or not (call.folder / Artifact.RUN_EVENTS).is_dir()
    if changed and call.configs[RunConfig].tensorboard:
        kinds = tuple(dict.fromkeys(kind for step in PIPELINE for kind in step.configs))
        options: dict[type, object] = {kind: call.configs[kind] for kind in kinds}
        architecture = Architecture.load(call.folder / Artifact.ARCHITECTURE)
        write_run(call.folder.path, architecture, options, summary)
    _write_pages(call.folder, summary)


def close_network(call: Inputs) -> None:
    """Says which files the steps of this call have left. A network that `pnas run` would not take,
    since its search is no part of the run, gets summary, report, model card and node data here,
    once it is trained, exported and measured."""
    from pnas_tf.report.summary import write_summary

    assert isinstance(call.folder, RunFolder)
    tell_files(call)
    if not _is_searched(call.folder) and _is_finished(call.folder):
        dataset = str(read_config(call.folder.path)[DataConfig.__name__]["dataset"])
        _write_pages(call.folder, write_summary(call.folder, dataset=dataset))


def _is_searched(folder: RunFolder) -> bool:
    """Whether the run has a search of its own, which `pnas run` ends."""
    return SEARCH.name in folder.steps()


def _is_finished(folder: RunFolder) -> bool:
    """Whether network, files and measurement are there, and of one another."""
    from pnas_tf.report.run_files import read_run

    steps, models = folder.steps(), folder.path.glob(MODELS_PATTERN)
    made_of = (Artifact.ARCHITECTURE, Artifact.NETWORK, *(path.name for path in models))
    return all(
        step in steps and is_current(left, steps[step], folder.path, made_of=made_of)
        for step, left in _LEFT.items()
    ) and bool(read_run(folder.path).measured)


def _write_pages(folder: RunFolder, summary: dict[str, Json]) -> None:
    from pnas_tf.report.manifest import write_card
    from pnas_tf.report.node_data import write_node_data
    from pnas_tf.report.page import write_report
    from pnas_tf.report.summary_table import text_table

    report = write_report(folder.path)  # before anything that a terminal could refuse
    write_card(folder)
    write_node_data(folder.path, Architecture.load(folder / Artifact.ARCHITECTURE))
    columns = columns_of_terminal() if can_redraw() else None
    say("\n" + text_table(summary, columns=columns))
    say(f"\nwrote {folder / Artifact.SUMMARY} and {report}; all details: {Artifact.LOG} there")


def tell_files(call: Inputs) -> None:
    """Says which files the steps of this call have left."""
    assert isinstance(call.folder, RunFolder)
    if call.folder.written:
        names = ", ".join(call.folder.written)
        say(f"wrote {names} in {call.folder.path}; all details: {Artifact.LOG} there")
        if (call.folder / Artifact.REPORT).is_file():
            _tell_earlier(call.folder)


def _tell_earlier(folder: RunFolder) -> None:
    """Says that the report there is older than what was written, unless it is made anew now."""
    place = run_dir_option(folder.path)
    if _is_searched(folder):
        say(f"{Artifact.REPORT} is from before that: pnas run {place} brings it up to date")
    elif not _is_finished(folder):
        say(
            f"{Artifact.REPORT} is from before that: pnas train, pnas export and pnas benchmark, "
            f"each with {place}, bring it up to date"
        )


def tell_idle(todo: Sequence[Step[Inputs]], call: Inputs, usual: Configs) -> None:
    """Says which options of the command line changed nothing, since the steps that look at them
    were complete. They are not refused: which steps are complete is known when their inputs are,
    and a command is given again to go on."""
    assert isinstance(call.folder, RunFolder)
    kinds = {kind for step in todo for kind in step.configs} - _LOOKED_AT_ANYWAY
    for kind in sorted(kinds, key=lambda each: each.__name__):
        steps = [step.name for step in todo if kind in step.configs]
        now: object = call.configs[kind]
        if set(steps) & set(call.folder.worked_on):
            continue
        for name, value in other_options(usual[kind], now).items():
            if is_free(now, name):
                were = "was" if len(steps) == 1 else "were"
                warn(f"--{name}={value} changed nothing: {', '.join(steps)} {were} complete")
