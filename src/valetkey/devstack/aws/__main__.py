"""The emulator as a program: `python -m valetkey.devstack.aws --port P --keys FILE`.

`FILE` is JSON: for each user name, and for `root`, `[access key id, secret]`. Loopback only.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from valetkey.devstack.aws.app import Emulator
from valetkey.devstack.aws.callers import Key


def _keys(path: Path) -> dict[str, Key]:
    told = json.loads(path.read_text(encoding="utf-8"))
    return {
        access_key: Key(user, access_key, secret) for user, (access_key, secret) in told.items()
    }


class _Quiet(MotoRequestHandler):
    """Logs nothing of a request: presigned URLs hold what is secret."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m valetkey.devstack.aws")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--keys", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    app = Emulator(DomainDispatcherApplication(create_backend_app), _keys(chosen.keys))
    server = make_server("127.0.0.1", chosen.port, app, threaded=True, request_handler=_Quiet)

    def end(*_: int | FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
