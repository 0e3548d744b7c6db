"""Class names of all scripts, and the signs that are refused."""

import unicodedata

import pytest

from pnas_tf.data.class_names import class_name
from pnas_tf.errors import UserError


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
