"""No network is told within seconds, and a network of which a part is away is used."""

import http.server
import socket
import threading
import time
import urllib.request

import pytest

from pnas_tf.data import reachable
from pnas_tf.data.reachable import why_unreachable
from pnas_tf.data.tfds import prepare_images
from pnas_tf.errors import UserError

PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")


@pytest.fixture
def environment(monkeypatch):
    for name in (*PROXIES, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # which knows the first test's proxies
    return monkeypatch


@pytest.fixture
def silent():
    """The port of a machine that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def server():
    """(port, list of one status, which it answers everything with)"""
    status = [200]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made.server_port, status
        made.shutdown()


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize(("status", "there"), [(200, True), (404, True), (403, True), (503, False)])
def test_any_answer_of_the_machine_itself_will_do(environment, server, status, there):
    port, answer = server
    answer[0] = status
    assert (why_unreachable([f"http://127.0.0.1:{port}/a.zip"]) == "") == there


def test_one_of_several_will_do_and_none_are_needed(environment, server, silent):
    port, _ = server
    away = [f"http://127.0.0.1:{closed_port()}/a", f"http://127.0.0.1:{silent}/b"]
    started = time.monotonic()
    assert why_unreachable([*away, f"http://127.0.0.1:{port}/c"]) == ""
    assert why_unreachable([]) == ""
    assert time.monotonic() - started < reachable.PROBE_S


def test_silence_is_told_in_time(environment, silent):
    environment.setattr(reachable, "PROBE_S", 0.5)
    started = time.monotonic()
    assert "no answer" in (told := why_unreachable([f"http://127.0.0.1:{silent}/a"])) or (
        "timed out" in told
    )
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("kind", ["no way", "proxy that is away", "silent proxy"])
def test_a_dataset_without_a_network_is_refused_within_seconds(environment, tmp_path, silent, kind):
    proxy = {"proxy that is away": closed_port(), "silent proxy": silent}.get(kind)
    if proxy:
        for name in PROXIES[:4]:
            environment.setenv(name, f"http://127.0.0.1:{proxy}")
    else:

        def unknown(*_, **__):
            raise socket.gaierror(-3, "Temporary failure in name resolution")

        environment.setattr(socket, "getaddrinfo", unknown)
    environment.setattr(reachable, "PROBE_S", 1.0)
    started = time.monotonic()
    with pytest.raises(UserError, match="cannot be downloaded") as refused:
        prepare_images("cifar10", data_dir=str(tmp_path), offline_files="")
    assert time.monotonic() - started < 30
    assert "--offline_files" in refused.value.fix and refused.value.received
