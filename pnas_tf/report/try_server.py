"""try.html: the exported models of a run in a browser, served to this computer alone.

The server knows a fixed list of files: the page, its script, the models, the report, and LiteRT.js
from where npm installed it. It answers requests that name this computer, and no others: a page of
somebody else's cannot reach it under a name of its own. Knows nothing of how models are run, which
is `try.js`.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, cast

from pnas_tf.errors import UserError
from pnas_tf.io import Json, atomic
from pnas_tf.report.page import render
from pnas_tf.run.layout import MODELS_PATTERN, Artifact, run_dir_option
from pnas_tf.tflite.export_inputs import central_part
from pnas_tf.tflite.metadata import read_metadata
from pnas_tf.tflite.model import TfliteModel

INSTALL = "npm install --prefix litertjs @litertjs/core@2.5"
_VERSION = "2.5."
_IMPORTS = json.dumps(
    {
        "imports": {
            "@litertjs/core": "/litertjs/core/dist/index.js",
            "@litertjs/wasm-utils": "/litertjs/wasm-utils/dist/index.js",
        }
    }
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".tflite": "application/octet-stream",
}
_TAKEN = ("uint8", "float32")  # by LiteRT.js


def open_server(
    run_dir: str | os.PathLike, *, litertjs: str | os.PathLike, port: int
) -> http.server.ThreadingHTTPServer:
    """A server that listens on 127.0.0.1; the caller runs and closes it.

    Args:
        run_dir: of a run with exported models.
        litertjs: the folder that npm installed @litertjs/core into, or one inside it.
        port: 0 for any that is free.

    Raises:
        UserError: there are no models, no LiteRT.js of a version that this page was tried with, or
            the port is taken.
    """
    run, packages = Path(run_dir), _packages(Path(litertjs))
    models = {path.name: path for path in sorted(run.glob(MODELS_PATTERN))}
    if not models:
        raise UserError(
            f"models to try in {run}",
            expected=f"{MODELS_PATTERN} in the run folder",
            received="none",
            fix=f"Export first: pnas export {run_dir_option(run)}",
        )
    facts = [fact for name, path in models.items() if (fact := _facts(name, path)) is not None]
    if not facts:
        raise UserError(
            f"models to try in {run}",
            expected=f"one of input and output {' or '.join(_TAKEN)}, for one image",
            received=", ".join(models),
            fix=f"Export one: pnas export {run_dir_option(run)} --formats=float32,int8",
        )
    files = {f"/{name}": path for name, path in models.items()}
    if (run / Artifact.REPORT).is_file():
        files[f"/{Artifact.REPORT}"] = run / Artifact.REPORT
    files["/try.js"] = Path(__file__).with_name("try.js")
    pages = {"/try.html": try_page(facts, title=run.resolve().name).encode()}
    handler = type("Handler", (_Handler,), {"pages": pages, "files": files, "packages": packages})
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--port={port}",
            expected="a port of this computer that is free",
            received=str(error),
            fix="Choose another, or --port=0 for any.",
        ) from error


def try_page(models: list[dict[str, Json]], *, title: str) -> str:
    """The page. models: as `_facts` gives them."""
    digest = base64.b64encode(hashlib.sha256(_IMPORTS.encode()).digest()).decode("ascii")
    return render(
        "try.html",
        script="try.js",
        title=title,
        models=models,
        imports=_IMPORTS,
        imports_digest=f"sha256-{digest}",
    )


def _facts(name: str, path: Path) -> dict[str, Json] | None:
    """What the page needs to feed a model and to read its answer; None of one that it cannot."""
    model = TfliteModel.read(path)
    metadata = read_metadata(model)
    image, scores = model.contents.inputs[0], model.contents.outputs[0]
    batch, height, width, channels = image.shape
    if not {image.dtype, scores.dtype} <= set(_TAKEN) or batch != 1:
        return None
    return {
        "file": name,
        "input": image.dtype,
        "shape": [batch, height, width, channels],
        "mean": list(metadata.mean),
        "std": list(metadata.std),
        "part": central_part(metadata.description),  # of the short side
        "labels": list(metadata.labels),
        "range": list(scores.real_range) if scores.real_range else None,  # of bytes 0 to 255
        "probabilities": model.has_softmax,
    }


def _packages(given: Path) -> Path:
    """The folder @litertjs, of an npm prefix, of its node_modules, or itself."""
    places = (given / "node_modules" / "@litertjs", given / "@litertjs", given)
    for place in places:
        manifest = place / "core" / "package.json"
        if manifest.is_file():
            document = atomic.read_json(manifest, what="package of npm", made_by=INSTALL)
            version = str(document.get("version")) if isinstance(document, Mapping) else "unknown"
            if not version.startswith(_VERSION):
                raise UserError(
                    f"--litertjs={given}",
                    expected=f"@litertjs/core {_VERSION}x, which this page was tried with",
                    received=version,
                    fix=f"Install it: {INSTALL}",
                )
            return place
    raise UserError(
        f"--litertjs={given}",
        expected="the folder that npm installed @litertjs/core into",
        received="a folder without it" if given.is_dir() else "no such folder",
        fix=f"Install it once (Apache-2.0, 40 MB): {INSTALL}",
    )


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET of the files that it knows."""

    protocol_version = "HTTP/1.1"
    pages: ClassVar[Mapping[str, bytes]] = {}
    files: ClassVar[Mapping[str, Path]] = {}
    packages: ClassVar[Path] = Path()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        port = cast(http.server.HTTPServer, self.server).server_port
        if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            self.send_error(421, "This server answers its own computer alone")
        elif path == "/":
            self.send_response(302)
            self.send_header("Location", "/try.html")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif (content := self._content(path)) is None:
            self.send_error(404)
        else:
            self._send(path, content)

    def _content(self, path: str) -> bytes | None:
        if path in self.pages:
            return self.pages[path]
        file = self.files.get(path) or self._of_package(path)
        return file.read_bytes() if file is not None and file.is_file() else None

    def _of_package(self, path: str) -> Path | None:
        """A file of LiteRT.js; None of anything outside its folder."""
        if not path.startswith("/litertjs/") or Path(path).suffix not in (".js", ".wasm"):
            return None
        file = (self.packages / path.removeprefix("/litertjs/")).resolve()
        return file if file.is_relative_to(self.packages.resolve()) else None

    def _send(self, path: str, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", _TYPES[Path(path).suffix])
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        # A page that nothing else shares has a clock of microseconds.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal says where the page is, and that is all."""
