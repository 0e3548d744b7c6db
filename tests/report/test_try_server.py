"""What `pnas try` serves, to whom, and what it refuses; without a browser."""

import http.client
import json
import shutil
import threading
from pathlib import Path

import pytest

from pnas_tf.errors import UserError
from pnas_tf.report.try_server import INSTALL, open_server
from pnas_tf.run.terminal import TERMINAL
from pnas_tf.steps import try_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run folder with two published models, and a folder as npm leaves it, beside a secret."""
    folder = tmp_path_factory.mktemp("try")
    (folder / "run").mkdir()
    for dtype in ("float32", "int8"):
        source = ROOT / "tflite_models" / f"digits_{dtype}.tflite"
        shutil.copy(source, folder / "run" / f"model_{dtype}.tflite")
    packages = folder / "js/node_modules/@litertjs"
    (packages / "core/dist").mkdir(parents=True)
    (packages / "core/dist/index.js").write_text("export {};")
    (packages / "core/package.json").write_text(json.dumps({"version": "2.5.9"}))
    (folder / "secret.js").write_text("secret")
    (packages / "core/dist/link.js").symlink_to(folder / "secret.js")
    return folder


@pytest.fixture(scope="module")
def server(place):
    server = open_server(place / "run", litertjs=place / "js", port=0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def get(server, path, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def test_it_serves_the_page_the_models_and_the_runtime(server, place):
    assert server.server_address[0] == "127.0.0.1"
    status, page, headers = get(server, "/try.html")
    assert status == 200 and b"model_int8.tflite" in page and b"http://" not in page
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert get(server, "/model_int8.tflite")[1] == (place / "run/model_int8.tflite").read_bytes()
    assert get(server, "/litertjs/core/dist/index.js")[0] == 200
    assert get(server, "/try.js")[2]["Content-Type"].startswith("text/javascript")
    assert get(server, "/")[0] == 302


@pytest.mark.parametrize(
    "path",
    [
        "/model_float16.tflite",
        "/report.html",
        "/litertjs/core/package.json",
        "/litertjs/../../secret.js",
        "/litertjs/core/dist/link.js",
        "/litertjs//etc/hosts.js",
        "/config.json",
    ],
)
def test_it_serves_nothing_else(server, path):
    assert get(server, path)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1"])
def test_it_answers_no_request_of_another_name(server, host):
    assert get(server, "/try.html", host.format(port=server.server_port))[0] == 421


def test_what_cannot_be_tried_is_refused_with_the_way_out(place, tmp_path, server):
    run, packages = place / "run", place / "js"
    with pytest.raises(UserError, match=INSTALL.replace("@", ".")):
        open_server(run, litertjs=tmp_path, port=0)
    with pytest.raises(UserError, match="pnas export"):
        open_server(tmp_path, litertjs=packages, port=0)
    with pytest.raises(UserError, match="--port=0 for any"):
        open_server(run, litertjs=packages, port=server.server_port)
    shutil.copytree(packages, tmp_path / "old", symlinks=True)
    manifest = tmp_path / "old/node_modules/@litertjs/core/package.json"
    manifest.write_text(json.dumps({"version": "1.0.0"}))
    with pytest.raises(UserError, match=r"1\.0\.0"):
        open_server(run, litertjs=tmp_path / "old", port=0)
    (run / "model_broken.tflite").write_bytes(b"TFL3TFL3 broken")
    with pytest.raises(UserError, match="model_broken"):
        open_server(run, litertjs=packages, port=0)
    (run / "model_broken.tflite").unlink()


def test_the_program_says_where_and_ends_by_ctrl_c(place, capsys, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("socketserver.BaseServer.serve_forever", interrupted)
    given = [f"--run_dir={place / 'run'}", f"--litertjs={place / 'js'}", "--port=0"]
    with TERMINAL.speaking():
        assert try_model.main(given) == 0
    assert "http://127.0.0.1:" in capsys.readouterr().out
