"""The one error users see: what is wrong, what was expected, what was received, what to do. Knows nothing else."""

from __future__ import annotations

from typing import Any


class UserError(ValueError):
    """Input that the program refuses, in four parts.

    what: the thing that is wrong, by name. expected and received: the two sides, quoted. fix: what the user can do.
    Programs under tools/ print it without a traceback and exit with status 2.
    """

    def __init__(self, what: str, *, expected: str, received: str, fix: str):
        super().__init__(what, expected, received, fix)
        self.what, self.expected, self.received, self.fix = what, expected, received, fix

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions pickle as kind(*args), which keyword-only parts would not survive; child processes raise these too.
        return _restored, (type(self), self.what, self.expected, self.received, self.fix)

    def __str__(self) -> str:
        return f"{self.what}\n  expected: {self.expected}\n  received: {self.received}\n  what to do: {self.fix}"


def _restored(kind: type[UserError], what: str, expected: str, received: str, fix: str) -> UserError:
    error = kind.__new__(kind)
    UserError.__init__(error, what, expected=expected, received=received, fix=fix)
    return error
