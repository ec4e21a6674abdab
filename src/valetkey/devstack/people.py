"""A scripted person: finishes a device login over HTTP, as somebody with a browser would.

    python -m valetkey.devstack.people --issuer URL --people-file F --person arun --user-code X

It opens the verification page, fills in its form with the person's password and sends it. It is
a process of its own and shares nothing with the terminal that waits but the user code.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode, urljoin

import urllib3


class FormReader(HTMLParser):
    """Reads the first form of a page: where it goes, and its named inputs with their values."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the form's action and its inputs."""
        values = dict(attrs)
        if tag == "form" and not self.action:
            self.action = values.get("action") or ""
        if tag in ("input", "select") and values.get("name"):
            self.fields[str(values["name"])] = values.get("value") or ""


def send_form(page: str, filled_in: dict[str, str], address: str) -> urllib3.BaseHTTPResponse:
    """Fill in the form on HTML `page` of `address` and send it; the answer, redirects untaken."""
    reader = FormReader()
    reader.feed(page)
    body = urlencode(reader.fields | filled_in)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    target = urljoin(address, reader.action)
    return urllib3.request(
        "POST",
        target,
        body=body,
        headers=headers,
        redirect=False,
        retries=False,
        timeout=10,
    )


def answer_device(
    issuer: str, user_code: str, person: str, password: str, *, allow: bool = True
) -> bool:
    """Open the verification page, answer as `person`; True when the issuer took the answer."""
    address = f"{issuer}/device?{urlencode({'user_code': user_code})}"
    page = urllib3.request("GET", address, retries=False, timeout=10).data.decode()
    filled_in = {
        "person": person,
        "password": password,
        "answer": "allow" if allow else "deny",
    }
    return send_form(page, filled_in, address).status == 200


def password_of(people_file: Path, person: str) -> str:
    """Return the password of `person` from the dev stack's people file. Raises KeyError."""
    people = json.loads(people_file.read_text(encoding="utf-8"))
    return str(people[person]["password"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Play one person once; exit 0 when the issuer took the answer, else 1."""
    parser = argparse.ArgumentParser(prog="python -m valetkey.devstack.people")
    for name in ("--issuer", "--person", "--user-code"):
        parser.add_argument(name, required=True)
    parser.add_argument("--people-file", type=Path, required=True)
    parser.add_argument("--deny", action="store_true")
    chosen = parser.parse_args(arguments)
    password = password_of(chosen.people_file, chosen.person)
    allow = not chosen.deny
    done = answer_device(chosen.issuer, chosen.user_code, chosen.person, password, allow=allow)
    what = "allowed" if allow else "denied"
    said = what if done else "was refused"
    print(f"scripted person {chosen.person}: {said} {chosen.user_code}")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
