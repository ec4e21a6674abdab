"""Run the dev issuer: `python -m valetkey.devstack.issuer --folder DIR --port N`."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from valetkey.devstack.issuer.app import Issuer, make_app
from valetkey.devstack.issuer.keys import realms
from valetkey.devstack.issuer.logins import Logins
from valetkey.devstack.issuer.people import register


def main() -> None:
    """Serve on loopback until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m valetkey.devstack.issuer")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    chosen = parser.parse_args()
    base = f"http://127.0.0.1:{chosen.port}"
    issuer = Issuer(realms(chosen.folder, base), register(chosen.folder), Logins())
    uvicorn.run(
        make_app(issuer),
        host="127.0.0.1",
        port=chosen.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
