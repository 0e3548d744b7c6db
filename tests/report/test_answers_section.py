"""The report's part on the test images, and what it says of an architecture that is a draw."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from test_report import SUMMARY, Page, make_run, page_of

from pnas_tf.errors import UserError
from pnas_tf.io.serialization import to_json
from pnas_tf.report.answers import MOST_CLASSES, MOST_ROWS, answers_section
from pnas_tf.report.page import write_report
from pnas_tf.report.summary_table import summary_table, text_table
from pnas_tf.search.judgement import AT_THE_END, BEFORE_ALPHA, DRAW_WITHIN_BUDGET, Judgement
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.mbconv import tiny
from pnas_tf.tflite.parity import report_of
from pnas_tf.tflite.parity_report import save_reports
from pnas_tf.training.answers import AnswerCount, save_answers


def answers_of(classes, *, skill, names=None, per_class=8):
    generator = np.random.default_rng(classes)
    labels = np.repeat(np.arange(classes), per_class)
    logits = generator.normal(size=(len(labels), classes))
    logits[np.arange(len(labels)), labels] += skill
    images = generator.integers(0, 256, (len(labels), 12, 12, 3)).astype(np.uint8)
    count = AnswerCount(
        names or [f"class {number}" for number in range(classes)],
        pixels_of=lambda image: image,
        file_of=lambda place: f"test/{place}.jpg",
    )
    count.add(images, logits, labels)
    return count.answers, (logits, labels)


@pytest.mark.parametrize("classes, skill", [(2, 1.0), (17, 2.0), (200, 3.0), (200, 0.0)])
def test_counts_add_up_and_the_worst_class_stands_first(classes, skill):
    answers, _ = answers_of(classes, skill=skill)
    section = answers_section(answers, {"int8": answers.right})
    wrong = sum(answers.images) - sum(answers.right)
    assert f"{wrong} wrong" in section.words[0] and "95 % interval" in section.words[0]
    shown = min(classes, MOST_CLASSES)
    assert len(section.matrix.rows) == shown
    for number, _, cells in section.matrix.rows:
        assert len(cells) == len(section.matrix.columns) == shown + (classes > MOST_CLASSES)
        counts = [int(cell.words or 0) for cell in cells]
        assert sum(counts) == answers.images[int(number) - 1]
        (right,) = [int(cell.words or 0) for cell in cells if cell.right]
        assert right == answers.right[int(number) - 1]
        assert all(0 <= cell.shade <= 1 for cell in cells)
    shares = [float(row[1][3].split()[0]) for row in section.table.rows[:MOST_ROWS]]
    assert shares == sorted(shares)
    assert len(section.table.rows) == min(classes, MOST_ROWS + 1)
    if classes > MOST_ROWS:
        assert section.table.rows[-1][0] == f"{classes - MOST_ROWS} more classes"
    assert len(section.pictures) == min(wrong, 24)


@pytest.mark.slow
def test_nothing_wrong_is_said_and_has_no_pictures(tmp_path):
    answers, _ = answers_of(10, skill=100.0)
    section = answers_section(answers, {})
    assert "none wrong" in section.words[0] and not section.pictures
    assert "100.00 % of 80 images (95 % interval 95.4 to 100.0 %)" in section.words[0]
    make_run(tmp_path, random_architecture(tiny(), seed=3))
    save_answers(tmp_path / "train/answers.json", answers)
    text = page_of(tmp_path)
    assert "img" not in Page(text).tags and "none wrong" in text


def test_the_page_shows_names_of_any_script_and_pictures_of_its_own(tmp_path):
    names = ["向日葵", "زهرة", '<img src=x onerror="alert(1)">', "a\x1b[31m$\\frac{1}{0}$"]
    answers, (logits, labels) = answers_of(4, skill=0.5, names=names)
    make_run(tmp_path, random_architecture(tiny(), seed=3))
    save_answers(tmp_path / "train/answers.json", answers)
    report = report_of(logits, logits[:, ::-1], labels, dtype="int8", size_bytes=1)
    reports = {"model_int8.tflite": report}
    save_reports(tmp_path / "parity.json", validation=reports, test=reports)
    text = page_of(tmp_path)
    page = Page(text)
    assert page.open == [] and "\x1b" not in text
    words = "".join(page.words)
    assert all(name in words for name in names[:3]) and "right, int8" in words
    sources = [value for name, value in page.attributes if name == "src"]
    assert len(sources) == len(answers.mistakes) and page.tags.count("img") == len(sources)
    for source, mistake in zip(sources, answers.mistakes):
        kind, picture = source.split(",")
        assert kind == "data:image/jpeg;base64" and picture == mistake.picture
        assert Image.open(io.BytesIO(base64.b64decode(picture))).size == (12, 12)
    assert not [name for name, _ in page.attributes if name.startswith("on")]


@pytest.mark.parametrize("name", ["train/answers.json", "parity.json", "derivation.json"])
def test_damaged_files_are_named(tmp_path, name):
    make_run(tmp_path, random_architecture(tiny(), seed=6), epochs=1)
    (tmp_path / name).write_text("[1]")
    with pytest.raises(UserError, match=name.split("/")[-1]):
        write_report(tmp_path)


def with_judgements(folder, *, start, end):
    make_run(folder, random_architecture(tiny(), seed=3))
    judgements = [
        Judgement(BEFORE_ALPHA, 120, 17.1, 4, 48, 0.061, 2.9, 0.059, 2.833, start),
        Judgement(AT_THE_END, 320, 45.7, 4, 48, 0.062, 2.8, 0.059, 2.833, end),
    ]
    history = json.loads((folder / "search/history.json").read_text())
    history["judgements"] = [to_json(each) for each in judgements]
    (folder / "search/history.json").write_text(json.dumps(history))
    origin = DRAW_WITHIN_BUDGET if not start and not end else "searched"
    (folder / "derivation.json").write_text(json.dumps({"origin": origin}))
    return page_of(folder)


def test_a_draw_is_called_one_wherever_the_architecture_is_shown(tmp_path):
    text = with_judgements(tmp_path, start=False, end=False)
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles[1] == "The architecture: a draw within the budget"
    assert "The architecture is a draw" in text.split("<section ")[0] and "--warmup_epochs" in text
    assert "always the most frequent class 5.9 %" in text
    summary = {
        **SUMMARY,
        "architecture_origin": DRAW_WITHIN_BUDGET,
        "search_notes": ["The architecture is a draw"],
    }
    assert dict(summary_table(summary).facts)["architecture"].startswith(DRAW_WITHIN_BUDGET)
    assert "! The architecture is a draw" in text_table(summary)


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.slow
def test_a_supernet_that_learnt_late_is_not_slandered(tmp_path, start):
    text = with_judgements(tmp_path, start=start, end=True)
    assert "<h2>The derived architecture</h2>" in text and "is a draw" not in text
    assert ("learnt late" in text) == (not start)


def test_accuracies_stand_beside_their_interval():
    summary = {**SUMMARY, "test_accuracy_interval": {"keras": [0.92, 0.972], "int8": None}}
    rows = dict(summary_table(summary).rows)
    assert rows["95 % interval"] == ("92.0 to 97.2 %", "–", "–")
