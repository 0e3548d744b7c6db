"""What all programs share: flags made from config dataclasses, and one way to start and to fail.

A flag that is not given takes its value from the run folder's config.json, else from the preset,
else the dataclass. absl 1.4 exits 1 on --help and lets stray arguments pass; both are mended here,
where `app.run` is called. Exit status: 0 done, 2 refused, 75 another worker was lost
(--strategy=multi_worker), 130 stopped by Ctrl-C or SIGTERM (a search and a training after a
checkpoint), 1 what a program's own docstring says.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import logging as standard_logging
import math
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from absl import app, flags, logging

from pnas_tf.config import PRESETS, DistributionConfig, RunConfig
from pnas_tf.errors import UserError, named
from pnas_tf.run.cluster import WorkerLost, cluster_of
from pnas_tf.run.folder import CONFIG, RunFolder, read_config
from pnas_tf.run.follower import RunFollower
from pnas_tf.run.os_errors import told
from pnas_tf.run.process import (
    EXIT_INTERRUPTED,
    keep_temporary_files_together,
    open_standard_streams,
    stop_when_asked,
)

EXIT_REFUSED = 2
POSITIVE = frozenset(
    (
        "alpha_size",
        "train_images",
        "resolution",
        "replicas",
        "epochs",
        "batch_size",
        "search_epochs",
        "search_batch_size",
        "arch_batch_size",
        "arch_interval",
        "arch_steps",
        "derive_networks",
        "derive_batch_size",
        "rl_networks",
        "rl_images",
        "rl_steps_per_epoch",
        "checkpoint_steps",
        "keep_checkpoints",
        "threads",
        "min_invocations",
        "networks",
        "export_batch",
        "export_resolution",
        "representative_images",
    )
)
FRACTIONS = frozenset(
    (
        "alpha_fraction",
        "test_fraction",
        "momentum",
        "dropout",
        "label_smoothing",
        "bn_momentum",
        "arch_beta_1",
        "arch_beta_2",
        "rl_baseline_decay",
        "prune",
    )
)
EXIT_BROKEN_PIPE = 141
EXIT_WORKER_LOST = 75  # EX_TEMPFAIL: the same command on all workers continues


def program(
    main: Callable[..., int | None],
    *config_classes: type,
    doc: str | None,
    borrowed: tuple[type, ...] = (),
) -> None:
    """Runs `main(folder, *configs)`, or `main(*configs)` when RunConfig is not among the classes,
    and exits.

    config_classes: dataclasses of pnas_tf.config, in the order of main's arguments; every field
    becomes a flag. doc: the program's module docstring, which --help prints. borrowed: classes
    whose options belong to another step; of them the run folder keeps only what was given. main's
    return value is the exit status (None is 0). A UserError is printed without a traceback and
    exits 2; a run folder in use by another process does too.
    """
    open_standard_streams()
    values = flags.FlagValues()
    for config_class in config_classes:
        _define(config_class, values)
    if any(
        config_class in section for section in PRESETS.values() for config_class in config_classes
    ):
        flags.DEFINE_enum(
            "preset",
            None,
            sorted(PRESETS),
            "Defaults taken together; single flags override.",
            flag_values=values,
        )
    flags.DEFINE_string("flagfile", "", "File with flags, one a line.", flag_values=values)

    def parse(arguments: list[str]) -> list[str]:
        if any(
            argument.lstrip("-") in ("help", "helpfull", "helpshort", "h", "?")
            for argument in arguments[1:]
            if argument.startswith("-")
        ):
            print(_help(doc, config_classes))
            sys.exit(0)
        try:
            rest = values(values.read_flags_from_files(arguments, force_gnu=True))
        except flags.UnrecognizedFlagError as error:
            close = difflib.get_close_matches(error.flagname, [str(name) for name in values], n=3)
            raise UserError(
                "unknown flag",
                expected=f"a flag that --help lists{f', e.g. --{close[0]}' if close else ''}",
                received=f"--{error.flagname}",
                fix="Correct or remove it.",
            ) from error
        except (flags.Error, OSError) as error:
            raise UserError(
                "a flag has no usable value",
                expected="what --help says",
                received=str(error),
                fix="Correct it.",
            ) from error
        if rest[1:]:
            raise UserError(
                "stray argument",
                expected="flags only, each --name=value",
                received=" ".join(rest[1:]),
                fix="Write it as --name=value, or remove it.",
            )
        return flags.FLAGS(
            arguments[:1]
        )  # absl's own flags keep their defaults, and app.run wants them parsed

    def start(_: list[str]) -> None:
        stop_when_asked()
        status = _refusing(lambda: keep_temporary_files_together())
        if status:
            sys.exit(status)
        # Libraries speak through these logs; what the user must know is printed.
        logging.set_verbosity(logging.ERROR)
        standard_logging.getLogger("tensorflow").setLevel(standard_logging.ERROR)
        sys.exit(_refusing(lambda: _call(main, config_classes, values, borrowed)))

    def parse_refusing(arguments: list[str]) -> list[str]:
        rest: list[str] = []
        status = _refusing(lambda: rest.extend(parse(arguments)))
        if status:
            sys.exit(status)
        return rest

    app.run(start, flags_parser=parse_refusing)


def _call(
    main: Callable[..., int | None],
    config_classes: tuple[type, ...],
    values: flags.FlagValues,
    borrowed: tuple[type, ...],
) -> int | None:
    given = {
        name: values[name].value
        for name in values
        if values[name].present and name not in ("flagfile", "preset")
    }
    preset = (
        PRESETS[values["preset"].value] if "preset" in values and values["preset"].present else {}
    )
    if RunConfig not in config_classes:
        return main(*(_config(config_class, given, preset, {}) for config_class in config_classes))
    run = _config(RunConfig, given, preset, {})
    with _folder(run, given, config_classes) as folder:
        stored = read_config(folder.path)
        configs = [
            _config(config_class, given, preset, stored, where=str(folder / CONFIG))
            for config_class in config_classes
        ]
        folder.settle(
            configs, borrowed={kind: {*given, *preset.get(kind, {})} for kind in borrowed}
        )
        return main(folder, *configs)


def _folder(
    run: RunConfig, given: Mapping[str, Any], config_classes: tuple[type, ...]
) -> RunFolder:
    """The run folder, held by this process or followed by a worker that is not the chief."""
    if DistributionConfig in config_classes:
        stored = read_config(run.run_dir).get(DistributionConfig.__name__, {})
        if (
            given.get("strategy", stored.get("strategy")) == "multi_worker"
            and not cluster_of().is_chief
        ):
            return RunFollower(run.run_dir)
    return RunFolder(run.run_dir)


def _config(
    config_class: type,
    given: Mapping[str, Any],
    preset: Mapping[type, Mapping[str, Any]],
    stored: Mapping[str, Any],
    *,
    where: str = "",
) -> Any:
    """The options of a class. where: the file of `stored`, named in errors of values that come from
    it."""
    known = {field.name for field in dataclasses.fields(config_class)}
    layers = (preset.get(config_class, {}), stored.get(config_class.__name__, {}), given)
    merged = {name: value for layer in layers for name, value in layer.items() if name in known}
    config = config_class(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in merged.items()
        }
    )
    for field, kind in _options(config_class):
        is_stored = field.name in stored.get(config_class.__name__, {}) and field.name not in given
        with named(where) if is_stored else contextlib.nullcontext():
            _check_value(field, kind, getattr(config, field.name))
    return config


def _check_value(field: dataclasses.Field, kind: type, value: Any) -> None:
    """Refuses what no run can use, from a flag or from an edited config.json. All our numbers count
    or scale: none is below zero."""
    choices, least = field.metadata["choices"], 1 if field.name in POSITIVE else 0
    if value is None and field.default is None:
        return
    kinds = (int, float) if kind is float else (kind,)
    if not any(type(value) is accepted for accepted in kinds) or (
        kind is tuple and not all(isinstance(item, str) for item in value)
    ):
        expected = f"a value of type {kind.__name__}"
    elif not all(
        part.isprintable()
        for part in (value if kind is tuple else [value])
        if isinstance(part, str)
    ):
        expected = "printable characters"
    elif choices and value not in choices:
        expected = f"one of {', '.join(choices)}"
    elif kind in (int, float) and not least <= value < math.inf:
        expected = f"a number of at least {least}"
    elif field.name in FRACTIONS and value >= 1:
        expected = "a fraction: at least 0, below 1"
    else:
        return
    raise UserError(
        f"--{field.name}",
        expected=expected,
        received=repr(value)[:200],
        fix=f"{field.metadata['help']} Default: {field.default!r}.",
    )


def _refusing(work: Callable[[], int | None]) -> int:
    try:
        return work() or 0
    except UserError as error:
        _say(error)
        return EXIT_REFUSED
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        return EXIT_BROKEN_PIPE
    except WorkerLost as error:
        _say(
            f"a worker was lost ({error}); the same command on all workers continues from the "
            "last checkpoint"
        )
        return EXIT_WORKER_LOST
    except KeyboardInterrupt:
        _say("interrupted; the same command continues from the last checkpoint")
        return EXIT_INTERRUPTED
    except Exception as error:
        mishap = told(error)
        if mishap is None:  # a fault of ours
            raise
        _say(mishap)
        return EXIT_REFUSED


def _say(words: object) -> None:
    with contextlib.suppress(
        OSError
    ):  # nobody reads, or the disk that it is written to is full: the exit status speaks
        print(f"{sys.argv[0]}: {words}", file=sys.stderr, flush=True)


def _define(config_class: type, values: flags.FlagValues) -> None:
    for field, kind in _options(config_class):
        arguments = {
            "name": field.name,
            "default": None,
            "help": field.metadata["help"],
            "flag_values": values,
        }
        if field.metadata["choices"]:
            flags.DEFINE_enum(enum_values=list(field.metadata["choices"]), **arguments)
        elif kind is bool:
            flags.DEFINE_bool(**arguments)
        elif kind is int:
            flags.DEFINE_integer(**arguments)
        elif kind is float:
            flags.DEFINE_float(**arguments)
        elif kind is tuple:
            flags.DEFINE_list(**arguments)
        else:
            flags.DEFINE_string(**arguments)


def _options(config_class: type) -> list[tuple[dataclasses.Field, type]]:
    """Each field with its plain type: `int | None` gives int, `tuple[str, ...]` gives tuple."""
    hints = typing.get_type_hints(config_class)
    options = []
    for field in dataclasses.fields(config_class):
        kind = hints[field.name]
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            kind = next(part for part in typing.get_args(kind) if part is not type(None))
        options.append((field, typing.get_origin(kind) or kind))
    return options


def _help(doc: str | None, config_classes: tuple[type, ...]) -> str:
    lines = [(doc or "").strip(), ""]
    for config_class in config_classes:
        lines += [f"{(config_class.__doc__ or '').strip()}", ""]
        for field, kind in _options(config_class):
            choices = (
                f" {{{', '.join(field.metadata['choices'])}}}"
                if field.metadata["choices"]
                else f" ({kind.__name__})"
            )
            lines += [
                f"  --{field.name}={field.default}{choices}",
                f"      {field.metadata['help']}",
            ]
        lines.append("")
    lines += [
        "--flagfile=FILE reads flags from a file, one a line.",
        f"--preset: {', '.join(sorted(PRESETS))} (where the program has one).",
    ]
    return "\n".join(lines)
