"""Answers by class against brute force, whatever the batches; the pictures are those that were
answered wrongly with the most confidence."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from pnas_tf.errors import UserError
from pnas_tf.training.answers import MOST_MISTAKES, AnswerCount, load_answers, save_answers


def counted(images, logits, labels, *, size, names=None):
    count = AnswerCount(
        names or [f"class {number}" for number in range(logits.shape[1])],
        pixels_of=lambda image: image,
        file_of=lambda place: f"{place}.jpg",
    )
    for start in range(0, len(labels), size):
        part = slice(start, start + size)
        count.add(images[part], logits[part], labels[part])
    return count


def drawn(classes, count, *, channels=3, skill=1.0):
    generator = np.random.default_rng([classes, count])
    labels = np.concatenate([np.arange(classes), generator.integers(0, classes, count - classes)])
    logits = generator.normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), labels] += skill
    images = np.full((count, 4, 4, channels), 0, np.uint8) + (np.arange(count) % 250)[
        :, None, None, None
    ].astype(np.uint8)
    return images, logits, labels


@pytest.mark.parametrize("classes, count", [(2, 9), (2, 8000), (17, 300), (200, 900)])
def test_against_brute_force_whatever_the_batch(classes, count):
    images, logits, labels = drawn(classes, count)
    answers = logits.argmax(-1)
    table = np.zeros((classes, classes), int)
    for label, answer in zip(labels, answers):
        table[label, answer] += 1
    shares = np.exp(logits.astype(np.float64))
    shares /= shares.sum(-1, keepdims=True)
    wrong = [place for place in range(count) if labels[place] != answers[place]]
    surest = sorted(wrong, key=lambda place: -shares[place].max())[:MOST_MISTAKES]
    for size in (1, 7, count) if count < 1000 else (64,):
        found = counted(images, logits, labels, size=size)
        result = found.answers
        assert result.images == tuple(table.sum(1)) and result.right == tuple(np.diag(table))
        assert result.accuracy == np.mean(labels == answers) == found.right / found.images
        expected = -np.log(shares[np.arange(count), labels]).mean()
        assert found.loss == pytest.approx(expected, rel=1e-9)
        confused = {(each.label, each.answer): each.images for each in result.confusions}
        places = [(a, b) for a in range(classes) for b in range(classes) if a != b and table[a, b]]
        assert confused == {place: table[place] for place in places}
        assert sum(confused.values()) == len(wrong)
        assert [each.file for each in result.mistakes] == [f"{place}.jpg" for place in surest]
        for mistake, place in zip(result.mistakes, surest):
            assert (mistake.label, mistake.answer) == (labels[place], answers[place])
            assert mistake.score == pytest.approx(shares[place].max())
            assert mistake.label_score == pytest.approx(shares[place][labels[place]])
            picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(mistake.picture))))
            assert abs(int(picture[0, 0, 0]) - int(images[place, 0, 0, 0])) <= 2


def test_nothing_wrong_and_everything_wrong():
    images, logits, labels = drawn(3, 40, skill=50.0)
    right = counted(images, logits, labels, size=8).answers
    assert right.accuracy == 1.0 and right.confusions == () and right.mistakes == ()
    wrong = counted(images, logits, (labels + 1) % 3, size=8).answers
    assert wrong.accuracy == 0.0 and len(wrong.mistakes) == MOST_MISTAKES


def test_large_and_grey_images_become_small_pictures():
    generator = np.random.default_rng(0)
    for shape in ((200, 300, 3), (40, 30, 1)):
        image = generator.integers(0, 256, shape).astype(np.uint8)
        found = counted(image[None], np.array([[5.0, 0.0]]), np.array([1]), size=1).answers
        mistake = found.mistakes[0]
        picture = Image.open(io.BytesIO(base64.b64decode(mistake.picture)))
        assert max(picture.size) <= 96 and picture.mode == ("L" if shape[-1] == 1 else "RGB")
        assert picture.width * shape[0] == pytest.approx(picture.height * shape[1], rel=0.05)


def test_they_come_back_with_names_of_any_script(tmp_path):
    images, logits, labels = drawn(3, 30)
    names = ["向日葵", "زهرة", "Löwen​zahn & <b>"]
    answers = counted(images, logits, labels, size=8, names=names).answers
    path = save_answers(tmp_path / "answers.json", answers)
    assert load_answers(path) == answers


def test_damage_is_named(tmp_path):
    images, logits, labels = drawn(3, 60, skill=0.0)
    answers = counted(images, logits, labels, size=8).answers
    path = save_answers(tmp_path / "answers.json", answers)
    whole = json.loads(path.read_text())
    mistake, confusion = whole["mistakes"][0], whole["confusions"][0]
    damages = [
        {"mistakes": [{**mistake, "picture": "javascript:alert(1)"}]},
        {"mistakes": [{**mistake, "picture": "/9j/" + "A" * 50_000}]},
        {"mistakes": [{**mistake, "answer": 3}]},
        {"confusions": [{**confusion, "label": -1}]},
        {"confusions": [{**confusion, "images": 1000}]},
        {"images": [1, 2]},
        {"class_names": "abc"},
        {"more": 1},
    ]
    for damage in damages:
        path.write_text(json.dumps({**whole, **damage}))
        with pytest.raises(UserError, match=r"answers\.json"):
            load_answers(path)
