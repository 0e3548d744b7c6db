"""Class names of all scripts, and the signs that are refused."""

import unicodedata

import pytest

from pnas_tf.data.class_names import alike, class_name
from pnas_tf.errors import UserError, is_shown, shown


@pytest.mark.parametrize(
    "name",
    [
        "کتاب\u200cها",  # Persian, joined but for a ZWNJ
        "क्\u200dष",  # Devanagari with a ZWJ
        "👩\u200d🌾",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "日本\u3000語",  # ideographic space
        "vin\u00a0rouge",
        "thin\u2009space",
        "שלום\u200f!",
        "ไทย",
        "한국",
        "a b",
        "L'été (2)",
        "ᠮᠣᠩ\u180eᠭᠣᠯ",
        "naïve",
        "x" * 200,
    ],
)
def test_names_of_all_scripts(name):
    assert class_name(name, what="class", where="here") == unicodedata.normalize("NFC", name)
    assert shown(name) == name


@pytest.mark.parametrize(
    "name, shown",
    [
        ("a\u202eb", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("a\nb", "U+000A"),
        ("a\x1b[31m", "U+001B"),
        ("a\u2028b", "U+2028 LINE SEPARATOR"),
        ("\ufeffcat", "U+FEFF"),
        ("a\udcff", "byte 0xFF"),
        ("\uf022", "U+F022"),
        ("a\ufdd0", "U+FDD0"),
        ("\u3000 ", "U+3000 U+0020"),
        ("\u200d", "U+200D"),
        ("", "none"),
        ("x" * 201, "201 signs"),
    ],
)
def test_refused_names_show_code_points(name, shown):
    with pytest.raises(UserError) as error:
        class_name(name, what="class", where="here")
    assert shown in error.value.received and "here" in error.value.what


def test_what_is_shown_commands_no_terminal():
    """Every code point, by Unicode's own categories and table of directions."""
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "B"}
    for sign in map(chr, range(0x110000)):
        if unicodedata.category(sign) in ("Cc", "Cs", "Co") or (
            unicodedata.bidirectional(sign) in turning
        ):
            assert not is_shown(sign)
        elif unicodedata.category(sign)[0] in "LMNPS":
            assert is_shown(sign)
    assert shown("a\n\x1b[2J\u202eb\udcff") == "a\\n\\x1b[2J\\u202eb\\udcff"


@pytest.mark.parametrize(
    "names, groups",
    [
        (["Cat", "dog", "cat"], [["Cat", "cat"]]),
        (["cat ", "cat", "c\u200bat", "\uff43at"], [["cat ", "cat", "c\u200bat", "\uff43at"]]),
        (["black bear", "black\u00a0bear", "Stra\u00dfe", "STRASSE"], 2),
        (["cat", "cats", "caf\u00e9", "cafe", "1", "01"], []),
    ],
)
def test_names_that_look_alike(names, groups):
    found = alike(names)
    assert len(found) == groups if isinstance(groups, int) else found == groups
