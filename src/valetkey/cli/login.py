"""`valetkey login`, `logout`, `whoami`: people, and who the broker says anybody is."""

from __future__ import annotations

import base64
import json
import os
import sys
import webbrowser
from collections.abc import Callable
from typing import Any

import click

from valetkey.cli.desk import DONE, Desk, ca_file, stands_at_desk

way_option = click.option(
    "--device/--browser",
    default=None,
    help="Show a code to enter elsewhere, or open a browser here; chosen when not given.",
)


@click.command()
@click.option("--url", help="The broker's base URL; kept in the profile.")
@way_option
@stands_at_desk("person")
def login(desk: Desk, url: str | None, device: bool | None) -> int:
    """Log in as a person, with the issuer that the broker names."""
    from valetkey.agentside.wire import check_url
    from valetkey.cli.sources import keep_login

    if url is not None:
        check_url(url)
        desk.profile.save(url=url.rstrip("/"))
    keep_login(desk.profile, fresh_login(desk, None, device))
    _show_caller(desk, desk.broker.session.access_token())
    return DONE


@click.command()
@stands_at_desk("person")
def logout(desk: Desk) -> int:
    """Forget the login of this profile."""
    from valetkey.cli.sources import drop_login

    drop_login(desk.profile)
    desk.screen.show({"logged_in": False}, {"": f"Logged out of profile {desk.profile.name}."})
    return DONE


@click.command()
@stands_at_desk("either")
def whoami(desk: Desk) -> int:
    """Show who the broker says we are."""
    _show_caller(desk, desk.broker.session.access_token())
    return DONE


def fresh_login(desk: Desk, for_what: str | None, device: bool | None) -> Any:
    """Log in now; the proof of it. `for_what` names the object the login is for."""
    from valetkey.agentside.login import Login, by_browser, by_device
    from valetkey.agentside.wire import Wire, trusting

    known = ca_file()
    wire = Wire(context=trusting(known) if known else None)
    try:
        where = Login.of(wire, desk.profile.url)
        without_browser = not _has_browser() if device is None else device
        way = by_device if without_browser else by_browser
        return way(wire, where, for_what, _shower(desk, open_it=not without_browser))
    finally:
        wire.close()


def freshly_posted(
    desk: Desk, for_what: str, device: bool | None, path: str, body: dict[str, Any] | None = None
) -> Any:
    """The answer to a POST by a person who logged in now for exactly this; kept nowhere."""
    from valetkey.agentside.client import Valetkey
    from valetkey.agentside.dpop import DpopKey
    from valetkey.cli.sources import once

    proof = fresh_login(desk, for_what, device)
    key = DpopKey.kept(desk.profile.key_file("person"))
    with Valetkey(desk.profile.url, key, once(proof), ca_file=ca_file()) as broker:
        return broker.call("POST", path, json=body).body


def said_yes(desk: Desk, found: dict[str, Any], path: str, yes: bool, device: bool | None) -> Any:
    """Have a person who was shown what was found say yes to exactly that, logged in for it.

    `path` ends with the verb; without `yes` it is asked for first. The answer, None after a no.
    """
    verb = path.rpartition("/")[2]
    if not yes and not click.confirm(f"{verb.capitalize()} exactly this?", err=True):
        desk.screen.refused({"code": "not_approved", "detail": f"You did not {verb}."})
        return None
    shown = {"shown_hash": found["shown_hash"]}
    return freshly_posted(desk, str(found["fresh_for"]), device, path, shown)


def _shower(desk: Desk, *, open_it: bool) -> Callable[[Any], None]:
    def show(shown: Any) -> None:
        desk.screen.aside(f"Log in at {shown.url}")
        if shown.user_code is not None:
            desk.screen.aside(f"and compare the code {shown.user_code}")
        sys.stderr.flush()
        if open_it:
            webbrowser.open(shown.url)

    return show


def _has_browser() -> bool:
    if sys.platform not in ("darwin", "win32") and not os.environ.get("DISPLAY"):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def _show_caller(desk: Desk, token: str) -> None:
    claims = _claims(token)
    told: dict[str, object] = {
        "profile": desk.profile.name,
        "broker": desk.profile.url,
        "kind": claims.get("vk_kind"),
        "subject": claims.get("sub"),
    }
    for name in ("agent", "email", "roles", "groups", "rule"):
        if value := claims.get(f"vk_{name}"):
            told[name] = value
    desk.screen.show(told, told)


def _claims(token: str) -> dict[str, Any]:
    """What our own token says of us; to be shown, not relied on."""
    segment = token.split(".")[1]
    padded = segment + "=" * (-len(segment) % 4)
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(padded))
    return found
