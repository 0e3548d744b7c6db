"""When names of classes are the same, and which signs may stand in them. Knows nothing of files.

Two names that look alike, as "é" of one sign or of two, are one class: some systems write the one,
some the other (Unicode normalisation form C). Names become lines of label files and stand in
reports and on terminals, so signs that break lines or turn the direction of other text are refused.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from pnas_tf.errors import UserError, is_shown

MAX_NAME = 200
_SPACES_AND_FORMAT = ("Zs", "Cf")


def class_name(name: str, *, what: str, where: str) -> str:
    """The name in normalisation form C. what, where: name the thing ("class folder") and its place
    in errors.

    Letters, marks, signs and spaces of every script are allowed, with the joiners and direction
    marks that some need.

    Raises:
        UserError: empty or longer than `MAX_NAME`, nothing to see in it, or a sign that is refused,
            shown with its code point.
    """
    normal = unicodedata.normalize("NFC", name)
    refused = [sign for sign in normal if not is_shown(sign)]
    if refused:
        signs = ", ".join(dict.fromkeys(_described(sign) for sign in refused[:5]))
        raise UserError(
            f"{what} {name!r} in {where}",
            expected="letters, signs and spaces of any script on one line",
            received=f"{name[:MAX_NAME]!r} with {signs}",
            fix="Rename it.",
        )
    if len(normal) > MAX_NAME or all(
        unicodedata.category(sign) in _SPACES_AND_FORMAT for sign in normal
    ):
        raise UserError(
            f"{what} {name[:MAX_NAME]!r} in {where}",
            expected=f"a name of 1 to {MAX_NAME} signs, not spaces alone",
            received=f"{len(normal)} signs: "
            + (" ".join(f"U+{ord(sign):04X}" for sign in normal[:10]) or "none"),
            fix="Rename it.",
        )
    return normal


def alike(names: Iterable[str]) -> list[list[str]]:
    """Names that differ by case, width, spaces or unseen signs alone, several to a group."""
    groups: dict[str, list[str]] = {}
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        seen = (sign for sign in plain if unicodedata.category(sign) not in _SPACES_AND_FORMAT)
        groups.setdefault("".join(seen), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _described(sign: str) -> str:
    """ "U+202E RIGHT-TO-LEFT OVERRIDE"; bytes that are no text are surrogates."""
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:
        return f"U+{code:04X} (byte 0x{code - 0xDC00:02X}, which is not UTF-8)"
    return f"U+{code:04X} {unicodedata.name(sign, '')}".rstrip()
