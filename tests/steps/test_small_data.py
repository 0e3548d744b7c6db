"""200 photographs in 5 classes by the defaults, and what people do with the folder between two
calls: the run fits itself, says what it needs before any work, and loses nothing."""

import json
import shutil

import numpy as np
import pytest
from forked_program import SPACE, assert_refused, contents, run
from PIL import Image

from pnas_tf.space.registry import save_space

pytestmark = pytest.mark.slow

CLASSES = ("blue", "dark", "green", "light", "red")


def photographs(folder, count=40):
    generator = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            save(folder / name / f"{index:02}.jpg", generator, number)
    return folder


def save(path, generator, number):
    tints = [(0, 0, 150), (0, 0, 0), (0, 150, 0), (170, 170, 170), (150, 0, 0)]
    pixels = generator.integers(0, 80, (20, 26, 3)) + np.array(tints[number])
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photos/, small.json, and the table of a run in run/."""
    place = tmp_path_factory.mktemp("small")
    photographs(place / "photos")
    save_space(SPACE, place / "small.json")
    made = run("build_latency_table", *flags("folder:photos"), *MEASURING, cwd=place)
    assert made.status == 0, made.output
    return place


MEASURING = ("--calibration_networks=3", "--convert_workers=0", "--min_invocations=8")
SHORT = ("--max_accuracy_drop=1", "--formats=float32", "--arch_start_epoch=0")


def flags(dataset):
    return (f"--dataset={dataset}", "--run_dir=run", "--space=small.json", "--model_cache=cache")


def call(place, *arguments, program="push_button", dataset="folder:photos"):
    return run(program, *flags(dataset), *MEASURING, *SHORT, *arguments, cwd=place)


@pytest.mark.parametrize(
    "flag, there",
    [
        ("--search_batch_size=129", "128 train, 32 validation"),
        ("--arch_batch_size=33", "128 train, 32 validation"),
        ("--derive_batch_size=129", "128 train, 32 validation"),
        ("--batch_size=161", "128 train, 32 validation"),
        ("--alpha_size=156", "156 of 160"),
    ],
)
def test_demands_of_every_step_come_before_the_first_and_change_nothing(place, flag, there):
    before = contents(place / "run")
    assert_refused(call(place, flag), flag.split("=")[0], there)
    assert contents(place / "run") == before


def test_the_defaults_go_to_the_end_and_the_folder_may_move(place, tmp_path):
    place = shutil.copytree(place, tmp_path / "place")
    refused = call(place, "--search_batch_size=200")
    assert_refused(refused, "Set --search_batch_size=16")  # the advice is followed
    made = call(
        place, "--search_batch_size=16", "--warmup_epochs=1", "--search_epochs=2", "--epochs=2"
    )
    assert made.status == 0, made.output
    assert "latency_table: complete, skipped" in made.output
    chosen = "--warmup_learning_rate=0.05 --search_learning_rate=0.025 --arch_batch_size=16 "
    chosen += "--derive_train_epochs=1.06 --derive_batch_size=16 --derive_learning_rate=0.00625 "
    chosen += "--batch_size=16 --learning_rate=0.0125"
    assert f"for 128 train and 32 validation images: {chosen}" in made.output
    steps = json.loads((place / "run/steps.json").read_text())["steps"]
    made_from = steps["search"]["made_from"]["options"]["SearchConfig"]
    assert made_from["search_batch_size"] == 16 and made_from["warmup_learning_rate"] == 0.05

    # Every spelling, and another place, are the same dataset.
    (place / "link").symlink_to("photos")
    (place / "photos").rename(place / "elsewhere")
    (place / "link").unlink()
    (place / "link").symlink_to("elsewhere")
    for spelling in ("../place/elsewhere/", "link"):
        again = call(place, dataset=f"folder:{spelling}")
        assert again.status == 0, again.output
        assert again.output.count("complete, skipped") == 6, again.output
    again = run("push_button", "--run_dir=run", cwd=place)  # the folder knows the new place
    assert again.status == 0 and again.output.count("complete, skipped") == 6, again.output

    # One more photograph, of a search that took long: refused by name, and nothing is touched.
    document = json.loads((place / "run/steps.json").read_text())
    document["steps"]["search"]["duration_s"] = 7200.0
    (place / "run/steps.json").write_text(json.dumps(document))
    save(place / "elsewhere/red/zz.jpg", np.random.default_rng(5), 4)
    before = contents(place / "run")
    refused = call(place, dataset="folder:elsewhere")
    assert_refused(refused, "dataset, images, red, number: 40 before, 41 now", "--restart", "old-1")
    assert contents(place / "run") == before
    made = call(place, "--restart", dataset="folder:elsewhere")
    assert made.status == 0, made.output
    history = (place / "run/old-1/search/history.json").read_bytes()
    assert history == before["search/history.json"]
    assert list((place / "run/old-1/search/checkpoints").iterdir())
