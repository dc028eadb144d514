"""A small Flask application that says where it runs.

PORT (default 8000) and HOST (default 127.0.0.1) say where it listens.
"""

import os
import platform
import signal
import socket
import sys

from flask import Flask

app = Flask(__name__)


def release():
    """The name of the release that this root file system says it is."""
    return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")


@app.get("/")
def index():
    return (
        f"hello from {socket.gethostname()}\n"
        f"release    {release()}\n"
        f"kernel     {platform.release()}\n"
        f"python     {platform.python_version()}\n"
        f"process    {os.getpid()}\n"
    ), {"Content-Type": "text/plain; charset=utf-8"}


@app.get("/health")
def health():
    return {"status": "ok"}


def stop(_signal, _frame):
    """The first process of a container gets no default action for SIGTERM: without this, it would not stop."""
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    app.run(host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000")))
