"""A sample workload's platform: writes a fresh identity token to a file, as a kubelet would.

python -m valetkey.devstack.workload --issuer URL --request-token-file F --audience A --out T
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

import urllib3

from valetkey.devstack.folders import write_private


def workload_token(issuer: str, request_token: str, audience: str, *, life: int = 600) -> str:
    """Return a token (`<issuer>/workloads`) for the workload that holds `request_token`.

    `life` is in seconds, at most 600. Raises PermissionError when the issuer refuses.
    """
    return _value(f"{issuer}/workloads/token", request_token, audience, life=str(life))


def ci_token(issuer: str, request_token: str, audience: str, **claims: str) -> str:
    """Return a GitHub-shaped token; `claims` may be environment, ref and event_name.

    Raises PermissionError when the issuer refuses.
    """
    return _value(f"{issuer}/github/idtoken", request_token, audience, **claims)


def _value(address: str, request_token: str, audience: str, **more: str) -> str:
    url = f"{address}?{urlencode({'audience': audience} | more)}"
    headers = {"Authorization": f"Bearer {request_token}"}
    answer = urllib3.request("GET", url, headers=headers, retries=False, timeout=10)
    if answer.status != 200:
        raise PermissionError(f"{address} answered {answer.status}")
    return str(json.loads(answer.data)["value"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one token to a 0600 file."""
    parser = argparse.ArgumentParser(prog="python -m valetkey.devstack.workload")
    for name in ("--issuer", "--audience"):
        parser.add_argument(name, required=True)
    for name in ("--request-token-file", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--life", type=int, default=600)
    chosen = parser.parse_args(arguments)
    request_token = chosen.request_token_file.read_text(encoding="ascii").strip()
    token = workload_token(chosen.issuer, request_token, chosen.audience, life=chosen.life)
    write_private(chosen.out, token)
    return 0


if __name__ == "__main__":
    sys.exit(main())
