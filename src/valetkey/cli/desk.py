"""What every command stands at: its profile, its screen, and the broker as the right caller."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec

import click

from valetkey.cli.profiles import NoProfile, Profile, profile_called
from valetkey.cli.screen import Screen

P = ParamSpec("P")
Who = Literal["person", "workload", "either"]
DONE, REFUSED, USAGE, WAITING, UNREACHABLE = range(5)


@dataclass
class Desk:
    """One command's place; `who` is the caller that the command is for."""

    profile: Profile
    screen: Screen
    who: Who
    token_file: str | None = None
    _broker: Any = None

    @property
    def broker(self) -> Any:
        """The broker, asked as the person or the workload. Raises NoProfile or NoIdentity."""
        if self._broker is None:
            self._broker = open_broker(self.profile, self.who, self.token_file)
        return self._broker

    def get(self, path: str, **query: str | int | None) -> Any:
        """The answer to a GET."""
        return self.broker.call("GET", path, query=query).body

    def post(self, path: str, body: object = None) -> Any:
        """The answer to a POST."""
        return self.broker.call("POST", path, json=body).body

    def close(self) -> None:
        """Give back connections."""
        if self._broker is not None:
            self._broker.close()


def open_broker(profile: Profile, who: Who, token_file: str | None = None) -> Any:
    """The broker as one caller; `either` is the workload where one is, else the person."""
    from valetkey.agentside.client import Valetkey
    from valetkey.agentside.dpop import DpopKey
    from valetkey.agentside.identity import NoIdentity, find_source
    from valetkey.cli.sources import person_source

    stdin = sys.stdin if token_file else None  # the option takes only "-"
    source = None if who == "person" else find_source(os.environ, profile.audience, stdin=stdin)
    if source is None and who == "workload":
        raise NoIdentity(
            "this command is for agents and CI jobs: set VALETKEY_IDENTITY_TOKEN_FILE, or run "
            "where the CI platform or an agent of SPIFFE gives identities, or use "
            "--identity-token-file -"
        )
    kind = "person" if source is None else "workload"
    key = DpopKey.kept(profile.key_file(kind))
    chosen = source or person_source(profile)
    kept = profile.token_file(kind)
    return Valetkey(profile.url, key, chosen, keep_in=kept, ca_file=ca_file())


def ca_file() -> Path | None:
    """Further authorities for the broker's certificate, from `VALETKEY_CA_FILE`."""
    named = os.environ.get("VALETKEY_CA_FILE")
    return Path(named) if named else None


Command = Callable[Concatenate[Desk, P], int | None]


def stands_at_desk(who: Who) -> Callable[[Command[P]], Callable[..., None]]:
    """Give a command its desk, `--json`, and the exit code that belongs to how it ended."""

    def decorate(command: Command[P]) -> Callable[..., None]:
        @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
        @click.pass_context
        @wraps(command)
        def run(ctx: click.Context, /, *args: Any, as_json: bool, **options: Any) -> None:
            token_file = options.pop("identity_token_file", None)
            screen = Screen(as_json)
            ctx.exit(_code(screen, lambda: _run(ctx, screen, token_file, args, options)))

        def _run(
            ctx: click.Context, screen: Screen, token_file: Any, args: Any, options: Any
        ) -> int:
            profile = profile_called(str(ctx.find_root().obj))
            desk = Desk(profile, screen, who, token_file)
            try:
                return command(desk, *args, **options) or DONE
            finally:
                desk.close()

        return _with_token_option(run) if who != "person" else run

    return decorate


def _with_token_option(run: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--identity-token-file",
        type=click.Choice(["-"]),
        help="Read the platform's identity token from standard input.",
    )(run)


def _code(screen: Screen, run: Callable[[], int]) -> int:
    """Run a command; its exit code, with what went wrong told."""
    from valetkey.agentside.identity import NoIdentity
    from valetkey.agentside.login import LoginFailed
    from valetkey.agentside.wire import Refusal, Unreachable
    from valetkey.cli.sources import NotLoggedIn

    try:
        return run()
    except Refusal as no:
        screen.refused(problem_of(no))
        return REFUSED
    except NotLoggedIn as no:
        told = {"code": "unauthenticated", "detail": str(no), "next_action": no.next_action}
        screen.refused(told)
        return REFUSED
    except LoginFailed as no:
        screen.refused({"code": "login_failed", "detail": str(no)})
        return REFUSED
    except (NoIdentity, NoProfile, ValueError) as wrong:
        raise click.UsageError(str(wrong)) from None
    except Unreachable as lost:
        screen.refused({"code": "unreachable", "detail": str(lost)})
        return UNREACHABLE


def problem_of(no: Any) -> dict[str, object]:
    """A refusal as the JSON it came in."""
    problem = {
        "code": no.code,
        "detail": no.detail,
        "next_action": no.next_action,
        "status": no.status,
        "retry_after": no.retry_after,
        "decision_id": no.decision_id,
    }
    given = {name: value for name, value in problem.items() if value not in (None, "")}
    return {**given, **no.extra}


def poll(look: Callable[[], Any], done: Callable[[Any], bool], within: float) -> Any:
    """Look until it is done or so many seconds have passed; what was seen last."""
    deadline = time.monotonic() + within
    seen = look()
    while not done(seen) and time.monotonic() < deadline:
        time.sleep(0.25)
        seen = look()
    return seen
