"""The one error users see: what is wrong, what was expected, what was received, what to do. Knows
nothing else."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator

_MAX_SHOWN = 4000  # characters of one part
_MAX_IN_LINE = 200
WINDOWS = (
    "pnas_tf runs on Linux and macOS; on Windows use WSL, the Windows Subsystem for Linux: "
    "`wsl --install`, then install and call it in there"
)


class UserError(ValueError):
    """Input that the program refuses, in four parts.

    what: the thing that is wrong, by name. expected and received: the two sides, quoted. fix: what
    the user can do. Programs print it without a traceback and exit with status 2.
    """

    def __init__(self, what: str, *, expected: str, received: str, fix: str):
        super().__init__(what, expected, received, fix)
        self.what, self.expected, self.received, self.fix = what, expected, received, fix

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions pickle as kind(*args), which keyword-only parts would not survive; child
        # processes raise these too.
        return _restored, (type(self), self.what, self.expected, self.received, self.fix)

    def __str__(self) -> str:
        expected, received, fix = (
            _shown(part, "\n\t") for part in (self.expected, self.received, self.fix)
        )
        return (
            f"{_shown(self.what)}\n  expected: {expected}\n  received: {received}\n  what to "
            f"do: {fix}"
        )

    @property
    def in_a_line(self) -> str:
        """For a list of such: what came, the end of what was received, and what to do."""
        received = " ".join(self.received.split())
        end = received if len(received) <= _MAX_IN_LINE else f"...{received[-_MAX_IN_LINE:]}"
        return f"{self.what}: {end} ({self.fix})"


@contextlib.contextmanager
def named(where: str) -> Iterator[None]:
    """Adds `where`, the file that is being read, to a UserError of what stands in it, unless it
    says so already."""
    try:
        yield
    except UserError as error:
        if where in str(error):
            raise
        raise UserError(
            f"{error.what} in {where}",
            expected=error.expected,
            received=error.received,
            fix=error.fix,
        ) from error


def closest(name: str, known: Iterable[str]) -> str:
    """The one of `known` that `name` was meant to be; "" where none is like it."""
    lower, said = {each.lower(): each for each in known}, name.lower()
    longer = [each for each in lower if said and each.startswith(said)]
    shorter = [each for each in lower if said.startswith(each)]
    close = [*longer, *difflib.get_close_matches(said, lower, n=1), *shorter]
    return lower[close[0]] if close else ""


def told_in(text: str) -> UserError | None:
    """The UserError that another's text quotes, as TensorFlow's errors quote what was raised in a
    data pipeline; None where there is none."""
    found = re.search(
        r"UserError: (.+?)\n  expected: (.+?)\n  received: (.+?)\n  what to do: ([^\n]+)",
        text,
        re.DOTALL,
    )
    if found is None:
        return None
    what, expected, received, fix = found.groups()
    return UserError(what, expected=expected, received=received, fix=fix)


def _restored(
    kind: type[UserError], what: str, expected: str, received: str, fix: str
) -> UserError:
    error = kind.__new__(kind)
    UserError.__init__(error, what, expected=expected, received=received, fix=fix)
    return error


def _shown(text: str, allowed: str = "") -> str:
    """Names and values may be a stranger's: none of them commands the terminal, or fails to be
    printed."""
    cut = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
    return "".join(
        sign if sign.isprintable() or sign in allowed else sign.encode("unicode_escape").decode()
        for sign in cut
    )
