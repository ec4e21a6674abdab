"""`valetkey token`: refuse a token of ours before its end (RFC 7009)."""

from __future__ import annotations

import click

from valetkey.cli.desk import DONE, WAITING, Desk, stands_at_desk
from valetkey.cli.values import read_secret


@click.group()
def token() -> None:
    """Revoke tokens that Valetkey gave."""


@token.command()
@click.option("--own", is_flag=True, help="Revoke what this profile itself calls with, instead.")
@stands_at_desk("either")
def revoke(desk: Desk, own: bool) -> int:
    """Read a token from standard input and have it refused; exit 3 while a credential is ending.

    An access token by who has it, a credential that is a token by its agent, owner or an operator.
    """
    session = desk.broker.session
    value = session.access_token() if own else read_secret(desk, "the token")
    told = session.send("POST", "/oauth2/revoke", form={"token": value}).body
    if own:
        session.forget()
    lease = told.get("lease")
    rows = told or {"": "If it is a token of ours, it is refused from now on."}
    desk.screen.show(told, rows)
    return DONE if lease is None or told["state"] == "ended" else WAITING
