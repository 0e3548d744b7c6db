"""The section on the answers for the test split: by class, what was taken for what, and pictures of
what went wrong. Knows nothing of the page around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pnas_tf.data.accuracy import accuracy_interval, accuracy_words
from pnas_tf.report import summary_table as cells
from pnas_tf.report.section import Cell, Matrix, Picture, Section, Table
from pnas_tf.report.words import one_line
from pnas_tf.training.answers import Answers, Mistake

_BRIEF = 3  # signs
MOST_CLASSES, MOST_ROWS = 30, 40  # of a matrix that can be read; of a table


def answers_section(
    answers: Answers | None, right_by_class: Mapping[str, Sequence[int]]
) -> Section | None:
    """The section; None without answers.

    Args:
        answers: of the Keras network.
        right_by_class: format -> rightly answered images of each class, of the exported files.
    """
    if answers is None or not sum(answers.images):
        return None
    images, wrong = sum(answers.images), sum(answers.images) - sum(answers.right)
    told = f"{wrong} wrong" if wrong else "none wrong"
    shown = _shown(answers)
    caption = "Confusion matrix: rows are the images' classes, columns the answers"
    caption += "." if _brief(answers, shown) else ", by their numbers."
    if len(shown) < len(answers.class_names):
        caption += (
            f" The {len(shown)} of {len(answers.class_names)} classes that are confused most."
        )
    if answers.mistakes:
        count = len(answers.mistakes)
        which = f"the {count} wrong answers that the network was surest of"
        which = "the wrong answer" if wrong == 1 else which
        caption += f" Pictures: {which}, as it saw the images."
    return Section(
        "The test images",
        meaning="Where the network is wrong, and what it takes images for.",
        terms=("accuracy", "interval", "confusion"),
        words=(f"Keras network: {accuracy_words(answers.accuracy, images)}, {told}.",),
        table=_by_class(answers, right_by_class),
        matrix=_matrix(answers, shown),
        pictures=tuple(_picture(answers, mistake) for mistake in answers.mistakes),
        caption=caption,
    )


def _by_class(answers: Answers, right_by_class: Mapping[str, Sequence[int]]) -> Table:
    """A row a class, the least accurate first."""
    files = {
        dtype: right
        for dtype, right in right_by_class.items()
        if len(right) == len(answers.class_names)
    }
    most_often: dict[int, str] = {}
    for confusion in answers.confusions:  # the most frequent first
        words = f"{_name(answers, confusion.answer)} ({confusion.images})"
        most_often.setdefault(confusion.label, words)
    shares = {
        number: right / images
        for number, (right, images) in enumerate(zip(answers.right, answers.images, strict=True))
        if images
    }
    numbers = sorted(shares, key=lambda number: (shares[number], number))
    rows = [
        (
            _name(answers, number),
            (
                str(answers.images[number]),
                str(answers.right[number]),
                *(str(right[number]) for right in files.values()),
                cells.percent(shares[number]),
                cells.interval(accuracy_interval(shares[number], answers.images[number])),
                most_often.get(number, ""),
            ),
        )
        for number in numbers[:MOST_ROWS]
    ]
    left = numbers[MOST_ROWS:]
    if left:
        least = cells.percent(shares[left[0]])
        rows.append((f"{len(left)} more classes", ("", "", *("" for _ in files), least, "", "")))
    return Table(
        (
            "class",
            "images",
            "right, Keras",
            *(f"right, {dtype}" for dtype in files),
            "accuracy, Keras",
            cells.INTERVAL,
            "most often taken for",
        ),
        tuple(rows),
    )


def _shown(answers: Answers) -> list[int]:
    """The classes of the matrix: all, or those that are confused most."""
    confused = [0] * len(answers.class_names)
    for confusion in answers.confusions:
        confused[confusion.label] += confusion.images
        confused[confusion.answer] += confusion.images
    numbers = sorted(range(len(confused)), key=lambda number: (-confused[number], number))
    return sorted(numbers[:MOST_CLASSES])


def _matrix(answers: Answers, shown: Sequence[int]) -> Matrix:
    counts = {(each.label, each.answer): each.images for each in answers.confusions}
    counts |= {(number, number): right for number, right in enumerate(answers.right)}
    others = len(shown) < len(answers.class_names)
    brief = _brief(answers, shown)
    numbers = {number: "" if brief else str(number + 1) for number in shown}
    rows = []
    for label in shown:
        images = answers.images[label]
        row = [
            _cell(answers, label, answer, counts.get((label, answer), 0) / max(images, 1))
            for answer in shown
        ]
        if others:
            rest = images - sum(counts.get((label, answer), 0) for answer in shown)
            row.append(Cell(str(rest or ""), rest / max(images, 1), False, "other classes"))
        rows.append((numbers[label], _name(answers, label), tuple(row)))
    columns = [
        (numbers[number] or _name(answers, number), _name(answers, number)) for number in shown
    ]
    if others:
        columns.append(("others", "other classes"))
    return Matrix(tuple(columns), tuple(rows))


def _brief(answers: Answers, shown: Sequence[int]) -> bool:
    """Whether the classes' names are short enough to stand above columns."""
    return max(len(_name(answers, number)) for number in shown) <= _BRIEF


def _cell(answers: Answers, label: int, answer: int, share: float) -> Cell:
    count = round(share * answers.images[label])
    if label == answer:
        title = f"{_name(answers, label)}: {count} of {answers.images[label]} right"
    else:
        title = f"{_name(answers, label)} taken for {_name(answers, answer)}: {count}"
    return Cell(str(count or ""), share, label == answer, title)


def _picture(answers: Answers, mistake: Mistake) -> Picture:
    lines = (
        f"answer {_name(answers, mistake.answer)}, score {100 * mistake.score:.0f} %",
        f"right is {_name(answers, mistake.label)}, score {100 * mistake.label_score:.0f} %",
        *((one_line(mistake.file),) if mistake.file else ()),
    )
    return Picture(mistake.picture, lines)


def _name(answers: Answers, number: int) -> str:
    return one_line(answers.class_names[number])
