"""From JSON to frozen dataclasses and back: every annotation, and where a fault is said to be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest

from pnas_tf.errors import UserError
from pnas_tf.io.serialization import Json, record_of, to_json, value_of


@dataclass(frozen=True)
class Visit:
    count: int
    times: tuple[float, ...] = ()

    def __post_init__(self):
        if self.count < 0:
            raise ValueError(f"a count of {self.count}")


@dataclass(frozen=True)
class Square:
    json_tag: ClassVar = ("shape", "square")
    side: int


@dataclass(frozen=True)
class Circle:
    json_tag: ClassVar = ("shape", "circle")
    radius: float

    def __post_init__(self):
        if self.radius > 9:
            raise UserError("radius", expected="at most 9", received=str(self.radius), fix="")


@dataclass(frozen=True)
class Session:
    visits: tuple[Visit, ...]
    kind: Literal["host", "android"] = "host"
    shapes: tuple[Square | Circle, ...] = ()
    named: Mapping[str, Visit] = field(default_factory=dict)
    first: Visit | None = None
    word_or_number: str | int = 0
    pair: tuple[int, str] | None = None
    anything: object = None


DOCUMENT = {
    "visits": [{"count": 1}, {"count": 2, "times": [1, 2.5]}],
    "kind": "android",
    "shapes": [{"shape": "circle", "radius": 1.5}, {"shape": "square", "side": 2}],
    "named": {"a b": {"count": 3}},
    "first": {"count": 4},
    "word_or_number": "five",
    "pair": [6, "seven"],
    "anything": {"x": [1]},
}


def read(document):
    return record_of(Session, document, where="s.json", fix="Measure again.")


def test_every_annotation_is_read_and_written_back():
    session = read(DOCUMENT)
    assert session == Session(
        (Visit(1), Visit(2, (1, 2.5))),
        "android",
        (Circle(1.5), Square(2)),
        {"a b": Visit(3)},
        Visit(4),
        "five",
        (6, "seven"),
        {"x": [1]},
    )
    assert to_json(session) == DOCUMENT
    assert to_json(Session((Visit(0),))) == {"visits": [{"count": 0}], "kind": "host"}


@pytest.mark.parametrize(
    "change, path, expected",
    [
        ({"visits": [{"count": 1}, {"count": "2"}]}, "$.visits[1].count", "an integer"),
        ({"visits": [{"count": True}]}, "$.visits[0].count", "an integer"),
        ({"visits": [{"count": 1, "times": ["x"]}]}, "$.visits[0].times[0]", "a number"),
        ({"visits": [{"times": []}]}, "$.visits[0]", "the fields ['count']"),
        ({"visits": [{"count": 1, "extra": 1}]}, "$.visits[0]", "fields among"),
        ({"visits": [{"count": -1}]}, "$.visits[0]", "belong together"),
        ({"visits": {"count": 1}}, "$.visits", "a list"),
        ({"kind": "ios"}, "$.kind", "one of 'host', 'android'"),
        ({"shapes": [{"shape": "line"}]}, "$.shapes[0]", '"shape": "square"'),
        ({"shapes": [{"shape": "circle", "radius": 10}]}, "$.shapes[0]", "at most 9"),
        ({"shapes": [{"shape": "square", "radius": 1}]}, "$.shapes[0]", "fields among ['side']"),
        ({"named": {"a b": 1}}, "$.named['a b']", "an object"),
        ({"first": []}, "$.first", "an object"),
        ({"word_or_number": 1.5}, "$.word_or_number", "text or an integer"),
        ({"pair": [6]}, "$.pair", "a list"),
        ({"pair": ["6", "seven"]}, "$.pair[0]", "an integer"),
        ({"other": 1}, "Session in s.json", "fields among"),
    ],
)
def test_a_fault_is_named_by_file_and_path(change, path, expected):
    with pytest.raises(UserError) as error:
        read({**DOCUMENT, **change})
    assert "s.json" in error.value.what and path in error.value.what
    assert expected in error.value.expected


@pytest.mark.parametrize("document", [None, [], 3, "x"])
def test_what_is_no_object_is_refused(document):
    with pytest.raises(UserError, match=r"Session in s\.json"):
        read(document)


def test_single_values():
    assert value_of(Sequence[int], [1, 2], what="x", fix="") == [1, 2]
    assert value_of(dict[str, float], {"a": 1}, what="x", fix="") == {"a": 1}
    assert value_of(Json, [None], what="x", fix="") == [None]
    assert value_of(float | None, None, what="x", fix="") is None
    with pytest.raises(UserError, match=r"epochs of h\.json at \$\[1\]"):
        value_of(tuple[float, ...], [1, None], what="epochs of h.json", fix="")
