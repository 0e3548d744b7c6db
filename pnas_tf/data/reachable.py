"""Whether the machines that a dataset is downloaded from can be reached, asked before TFDS waits
minutes for them. Knows nothing of datasets."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable

PROBE_S = 5.0  # name resolution included
_MAX_HOSTS = 4
_NO_GATEWAY = (407, 502, 503, 504)  # a proxy's own answers


def why_unreachable(urls: Iterable[str]) -> str:
    """Empty where one of the machines of `urls` answers, or where there are none; else the reason
    of each, after PROBE_S at the latest. The environment's proxies are used."""
    of_host = {urllib.parse.urlsplit(url).netloc: url for url in urls}
    hosts = list(of_host)[:_MAX_HOSTS]
    answers: queue.Queue[tuple[str, str]] = queue.Queue()
    for host in hosts:  # daemons: a name server that is silent holds nobody up
        threading.Thread(
            target=lambda one: answers.put((one, _reason(of_host[one]))), args=(host,), daemon=True
        ).start()
    reasons = {host: f"no answer within {PROBE_S:g} s" for host in hosts}
    end = time.monotonic() + PROBE_S
    with contextlib.suppress(queue.Empty):
        for _ in hosts:
            host, reason = answers.get(timeout=max(0.0, end - time.monotonic()))
            if not reason:
                return ""
            reasons[host] = reason
    return "; ".join(f"{host}: {reason}" for host, reason in reasons.items())


def _reason(url: str) -> str:
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=PROBE_S).close()
    except urllib.error.HTTPError as error:  # an answer, whatever it says
        return f"proxy: {error}" if error.code in _NO_GATEWAY else ""
    except urllib.error.URLError as error:
        return str(error.reason)[:200]
    except (OSError, ValueError) as error:
        return str(error)[:200]
    return ""
