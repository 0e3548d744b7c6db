"""When names of classes are the same, and which signs may stand in them. Knows nothing of files.

Two names that look alike, as "é" of one sign or of two, are one class: some systems write the one,
some the other (Unicode normalisation form C). Names become lines of label files and stand in
reports and on terminals, so signs that break lines or turn the direction of other text are refused.
"""

from __future__ import annotations

import unicodedata

from pnas_tf.errors import UserError

MAX_NAME = 200
# Format signs (category Cf) that no script needs inside a word and that hide what is written:
# overrides and isolates of direction, deprecated ones, byte-order mark, annotations, tag start.
_HIDING = {
    *range(0x202A, 0x202F),
    *range(0x2066, 0x2070),
    0xFEFF,
    *range(0xFFF9, 0xFFFC),
    0xE0001,
}
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
    refused = [sign for sign in normal if not _allowed(sign)]
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


def _allowed(sign: str) -> bool:
    category, code = unicodedata.category(sign), ord(sign)
    if category == "Cf":
        return code not in _HIDING
    if category == "Cn":  # a newer Unicode than Python's may have it, but for these
        return code & 0xFFFE != 0xFFFE and not 0xFDD0 <= code <= 0xFDEF
    return category not in ("Cc", "Cs", "Co", "Zl", "Zp")


def _described(sign: str) -> str:
    """ "U+202E RIGHT-TO-LEFT OVERRIDE"; bytes that are no text are surrogates."""
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:
        return f"U+{code:04X} (byte 0x{code - 0xDC00:02X}, which is not UTF-8)"
    return f"U+{code:04X} {unicodedata.name(sign, '')}".rstrip()
