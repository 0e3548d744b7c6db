"""In what the inputs of a step differ, in words. Knows the form that `Step.inputs` gives them, and
nothing of what they mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pnas_tf.errors import UserError

_SHOWN, _MAX_VALUE = 8, 100  # changes of a message, characters of a value
_SHA256 = re.compile("[0-9a-f]{64}")
_ABSENT = object()


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """A line for each option, file and part that is not the same: "--epochs: 30 before, 60 now"."""
    return [
        _told(path, old, new) for path, old, new in _changed((), _by_name(before), _by_name(now))
    ]


def only_remaking(before: Mapping[str, object], now: Mapping[str, object]) -> bool:
    """Whether options that ask for a new result (`remakes`) make all the difference, with files
    and parts of the identity that count by these options alone."""
    changed = list(_changed((), _by_name(before), _by_name(now)))
    asked = [path for path, *_ in changed if path[0] == "remakes"]
    with_them = [
        path
        for path, old, new in changed
        if path[0] in ("files", "identity") and len(path) == 2 and _ABSENT in (old, new)
    ]
    return not changed or (bool(asked) and len(asked) + len(with_them) == len(changed))


def changed_inputs(step: str, place: str, *, made: str, changes: list[str], old: str) -> UserError:
    """The refusal to make a step anew from other inputs.

    Args:
        step: its name.
        place: the run folder.
        made: what there is, and what it took.
        changes: of `differences`.
        old: the folder that --restart would move it to.
    """
    shown = changes[:_SHOWN]
    shown += [f"and {len(changes) - _SHOWN} more"] if len(changes) > _SHOWN else []
    return UserError(
        f"step {step} of run folder {place} was made from something else",
        expected=f"what it was made from ({made})",
        received="; ".join(shown) or "inputs that were not written down",
        fix="Bring back what has changed, and the same command goes on; or add --restart: what was "
        f"made moves to {old}, and is made anew. Or choose another --run_dir.",
    )


def _by_name(inputs: Mapping[str, object]) -> dict[str, object]:
    """With files as a mapping, which two may share a name of."""
    files = inputs.get("files")
    if not isinstance(files, list):
        return dict(inputs)
    named: dict[str, object] = {}
    for label, content in files:
        number = sum(name.split(" (")[0] == label for name in named)
        named[label if not number else f"{label} ({number + 1})"] = content
    return {**inputs, "files": named}


def _changed(
    path: tuple[str, ...], old: object, new: object
) -> Iterator[tuple[tuple[str, ...], object, object]]:
    if old == new:
        return
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        yield path, old, new
        return
    keys = [*old, *(key for key in new if key not in old)]
    if old.get("number") != new.get("number"):  # it says more than another hash does
        keys = ["number"]
    for key in keys:
        yield from _changed((*path, key), old.get(key, _ABSENT), new.get(key, _ABSENT))


def _told(path: tuple[str, ...], old: object, new: object) -> str:
    first, rest = path[0], path[1:]
    if first in ("options", "remakes"):
        rest = (f"--{rest[-1]}",) if len(rest) > 1 else rest
    words = [word for word in (rest if rest else path) if word not in ("sha256", "content")]
    name = ", ".join(words)
    if old is _ABSENT or new is _ABSENT:
        return f"{name}: {'not there before' if old is _ABSENT else 'no longer there'}"
    if _is_hash(old) and _is_hash(new):
        return f"{name}: other content"
    return f"{name}: {_shown(old)} before, {_shown(new)} now"


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _shown(value: object) -> str:
    text = "unset" if value is None else value if isinstance(value, str) else repr(value)
    return text if len(text) <= _MAX_VALUE else text[:_MAX_VALUE] + "..."
