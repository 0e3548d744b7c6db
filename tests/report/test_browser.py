"""The pages in a real browser, headless: what a reader sees and does. One session for all."""

import base64
import dataclasses
import json
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_answers_section import answers_of
from test_compare import SETTINGS, finished
from test_report import make_run

from pnas_tf.report.compare import compare_runs
from pnas_tf.report.comparison_page import comparison_page
from pnas_tf.report.page import write_report
from pnas_tf.report.run_files import read_run
from pnas_tf.report.try_server import open_server
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.mbconv import tiny
from pnas_tf.training.answers import save_answers

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
LITERTJS = Path(os.environ.get("PNAS_LITERTJS", ROOT / ".litertjs"))
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the tests run as root in containers; the pages are our own
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",  # a camera that shows a moving disc
    "--use-fake-ui-for-media-stream",  # and a person who allows it
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="no selenium: pip install '.[dev]'"
    )
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no Chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    session = webdriver.Chrome(options=options, service=service)
    yield session
    session.quit()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("run"), random_architecture(tiny(), seed=3))
    save_answers(folder / "train/answers.json", answers_of(17, skill=2.0)[0])
    write_report(folder)
    return folder


@pytest.fixture
def page(browser, run):
    """The report on a screen of this width, in this mode."""

    def opened(*, width=1200, mode="light", media=""):
        features = [{"name": "prefers-color-scheme", "value": mode}]
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": media, "features": features}
        )
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get((run / "report.html").as_uri())
        return browser.execute_script

    return opened


def luminance(color):
    """0 to 1, of rgb(...); of the page's ground, of words on it."""
    red, green, blue = (int(part) / 255 for part in color.strip("rgba()").split(",")[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_nothing_is_wrong_in_the_console(page, browser):
    script = page()
    loaded = script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    assert browser.get_log("browser") == []
    assert script("return document.querySelectorAll('section').length") > 9


def test_the_slider_moves_and_changes_the_bars(page, run):
    script = page()
    history = read_run(run).search.probabilities
    bar = "document.querySelector('.slider .bar')"
    widths = f"return [...{bar}.children].map(part => part.getBoundingClientRect().width)"
    whole = script(f"return {bar}.getBoundingClientRect().width")
    for moment in (0, 7, len(history) - 1):
        script(
            "const input = document.querySelector('.slider input'); input.value = arguments[0];"
            "input.dispatchEvent(new Event('input'))",
            moment,
        )
        seen = np.array(script(widths)) / whole
        assert sorted(seen) == pytest.approx(sorted(history[moment][0]), abs=0.005)
        words = script("return document.querySelector('.slider output').textContent")
        assert words.startswith(f"epoch {moment + 1} of {len(history)}")


@pytest.mark.parametrize("width", [360, 1200])
def test_no_page_is_wider_than_its_screen(page, browser, tmp_path, width):
    script = page(width=width)
    narrow(script, width)
    settings = dataclasses.replace(SETTINGS, binary_sha256="d" * 64)
    runs = [finished(tmp_path / name, ms=2.0, settings=settings) for name in ("one", "two" * 20)]
    compared = tmp_path / "compared.html"
    compared.write_text(comparison_page(compare_runs(runs)), encoding="utf-8")
    browser.get(compared.as_uri())
    narrow(script, width)


def narrow(script, width):
    assert script("return document.documentElement.scrollWidth") <= width
    beyond = script(
        "return [...document.querySelectorAll('h1,h2,p,dl,details,figcaption,.slider,.bar,nav a')]"
        ".filter(part => part.getBoundingClientRect().right > innerWidth + 1)"
        ".map(part => part.textContent.slice(0, 60))"
    )
    assert beyond == []


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_words_and_drawings_stand_out_by_day_and_by_night(page, mode):
    script = page(mode=mode)
    ground = luminance(
        script("return getComputedStyle(document.querySelector('section')).backgroundColor")
    )
    assert (ground > 0.5) == (mode == "light")
    words = script(
        "return [...document.querySelectorAll('section p, section td, section dd, a, svg text')]"
        ".filter(part => !part.closest('.matrix'))"
        ".map(part => [getComputedStyle(part)[part.closest('svg') ? 'fill' : 'color'],"
        " part.textContent])"
    )
    boxed = "rgb(27, 39, 51)"  # words on coloured boxes, which are the same by day and by night
    faint = {
        text[:40]
        for color, text in words
        if color != boxed and abs(luminance(color) - ground) < 0.25
    }
    assert faint == set()


def test_on_paper_it_is_light_and_all_is_there(page, browser):
    script = page(mode="dark", media="print")
    style = "return getComputedStyle(document.querySelector('{}')).{}"
    assert luminance(script(style.format("body", "backgroundColor"))) == pytest.approx(1)
    assert luminance(script(style.format("section p", "color"))) < 0.3
    assert script(style.format(".slider .control", "display")) == "none"
    assert script(style.format("nav", "display")) == "none"
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    assert base64.b64decode(printed)[:5] == b"%PDF-" and len(printed) > 50_000


def digit_files(folder):
    """Three handwritten digits as pictures of the model's size."""
    from sklearn.datasets import load_digits

    for number, digit in enumerate(load_digits().images[[3, 500, 1700]]):
        pixels = Image.fromarray(np.uint8(255 * digit / 16)).resize((32, 32)).convert("RGB")
        pixels.save(folder / f"{number}.png")
        yield folder / f"{number}.png", np.asarray(pixels)


def interpreter_scores(path, pixels):
    """(scores, the step between two of a file that gives bytes)."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (image,), (scores,) = interpreter.get_input_details(), interpreter.get_output_details()
    values = pixels if image["dtype"] == np.uint8 else (pixels.astype(np.float32) - 127.5) / 127.5
    interpreter.set_tensor(image["index"], values[np.newaxis])
    interpreter.invoke()
    found = interpreter.get_tensor(scores["index"])[0]
    scale, zero = scores["quantization"]
    return scale * (found - float(zero)) if scale else found, scale


@pytest.fixture
def trial(browser, tmp_path):
    """(the run folder, the page's address); closed afterwards."""
    if not any(LITERTJS.glob("**/@litertjs/core/package.json")):
        pytest.skip(f"no LiteRT.js at {LITERTJS}: make .litertjs/installed (npm)")
    for dtype in ("float32", "int8"):
        source = ROOT / "tflite_models" / f"digits_{dtype}.tflite"
        shutil.copy(source, tmp_path / f"model_{dtype}.tflite")
    server = open_server(tmp_path, litertjs=LITERTJS, port=0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}/try.html"
    browser.get("about:blank")
    server.shutdown()
    server.server_close()


def told_by(browser, key, *, timeout_s=120):
    """What the page has left under this name."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := browser.execute_script("return document.body.dataset[arguments[0]]", key):
            return found
        time.sleep(0.05)
    words = browser.execute_script("return document.getElementById('status').textContent")
    raise AssertionError(f"the page says: {words}; {browser.get_log('browser')}")


def test_the_browser_answers_as_the_interpreter_does(browser, trial):
    folder, address = trial
    browser.get(address)
    for number, model in enumerate(("model_float32.tflite", "model_int8.tflite")):
        browser.execute_script(
            "const list = document.getElementById('model'); if (list.value != arguments[0]) {"
            "delete document.body.dataset.ready; list.value = arguments[0];"
            "list.dispatchEvent(new Event('change')); }",
            str(number),
        )
        assert told_by(browser, "ready") == model
        for path, pixels in digit_files(folder):
            browser.execute_script("delete document.body.dataset.answer")
            browser.find_element("id", "file").send_keys(str(path))
            answer = json.loads(told_by(browser, "answer"))
            scores, step = interpreter_scores(folder / model, pixels)
            assert answer["label"] == str(scores.argmax()) and answer["ms"] > 0
            assert answer["score"] == pytest.approx(scores.max(), abs=1e-3 + step)


def test_the_camera_is_answered_until_a_picture_is_given(browser, trial, tmp_path):
    browser.get(trial[1])
    told_by(browser, "ready")
    button = browser.find_element("id", "camera")
    button.click()
    told_by(browser, "answer")
    assert button.text == "Stop"
    (path, pixels), *_ = digit_files(tmp_path)
    browser.find_element("id", "file").send_keys(str(path))
    label = str(interpreter_scores(trial[0] / "model_float32.tflite", pixels)[0].argmax())
    for _ in range(20):  # no frame of the camera comes behind it
        answer = json.loads(told_by(browser, "answer"))
        time.sleep(0.02)
    assert answer["label"] == label and button.text == "Camera"
    (tmp_path / "no.png").write_text("no picture")
    browser.find_element("id", "file").send_keys(str(tmp_path / "no.png"))
    shown = "return document.getElementById('status').textContent"
    end = time.monotonic() + 20
    while "no.png is no picture" not in browser.execute_script(shown):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert browser.find_elements("class name", "answer") == []
