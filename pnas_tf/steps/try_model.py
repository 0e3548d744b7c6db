"""Runs the exported models of a run in your browser, on a picture that you drop or on the camera.

    npm install --prefix litertjs @litertjs/core@2.5
    pnas try --run_dir=runs/demo

serves RUN/try.html, the models and LiteRT.js on this computer alone (127.0.0.1) until Ctrl-C, and
prints the address. It shows label, score and the browser's own latency, on the processor
(WebAssembly, one thread). LiteRT.js (Apache-2.0) comes from the first command, once; nothing is
fetched when the page runs.
"""

from __future__ import annotations

from pnas_tf.run.terminal import say
from pnas_tf.steps.file_options import FileOptions

PORT = 8765


def main(arguments: list[str] | None = None) -> int:
    """Serves until Ctrl-C. Raises UserError where there are no models or no LiteRT.js, or the port
    is taken. Returns the exit status."""
    from pnas_tf.report.try_server import open_server

    parser = FileOptions(__doc__)
    parser.add_argument("--run_dir", required=True, help="folder of a run with exported models")
    parser.add_argument("--litertjs", default="litertjs", help="where npm installed @litertjs/core")
    parser.add_argument("--port", type=int, default=PORT, help="0: any that is free")
    options = parser.read(arguments)
    server = open_server(options.run_dir, litertjs=options.litertjs, port=options.port)
    say(f"http://127.0.0.1:{server.server_port}/try.html   (Ctrl-C ends it)")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("ended")
    finally:
        server.server_close()
    return 0
