"""The one error users see: what is wrong, what was expected, what was received, what to do. Knows
nothing else."""

from __future__ import annotations

import contextlib
import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator

_MAX_SHOWN = 4000  # characters of one part
_MAX_IN_LINE = 200
# Format signs (category Cf) that no script needs inside a word and that hide what is written:
# overrides and isolates of direction, deprecated ones, byte-order mark, annotations, tag start.
_HIDING = {
    *range(0x202A, 0x202F),
    *range(0x2066, 0x2070),
    0xFEFF,
    *range(0xFFF9, 0xFFFC),
    0xE0001,
}
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
            shown(part, "\n\t") for part in (self.expected, self.received, self.fix)
        )
        return (
            f"{shown(self.what)}\n  expected: {expected}\n  received: {received}\n  what to "
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


def number_of(count: int, what: str) -> str:
    """ "1 image", "2 images", "2 classes". what: one of them."""
    plural = "es" if what.endswith(("s", "x")) else "s"
    return f"{count} {what}{plural * (count != 1)}"


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


def is_shown(sign: str) -> bool:
    """Whether a sign may stand in a name and on a terminal: letters, marks, signs and spaces of
    every script, with the joiners and direction marks that some need. None breaks lines, turns the
    direction of other text, commands a terminal, or fails to be printed."""
    category, code = unicodedata.category(sign), ord(sign)
    if category == "Cf":
        return code not in _HIDING
    if category == "Cn":  # a newer Unicode than Python's may have it, but for these
        return code & 0xFFFE != 0xFFFE and not 0xFDD0 <= code <= 0xFDEF
    return category not in ("Cc", "Cs", "Co", "Zl", "Zp")


def shown(text: str, allowed: str = "") -> str:
    """`text`, which may be a stranger's, with escapes for signs that are neither `is_shown` nor
    `allowed`."""
    cut = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
    return "".join(
        sign if is_shown(sign) or sign in allowed else sign.encode("unicode_escape").decode()
        for sign in cut
    )
