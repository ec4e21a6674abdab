"""`valetkey token revoke`: a token from standard input, or the profile's own."""

from __future__ import annotations

from tests.cli.conftest import Terminal
from tests.cli.fake_broker import FakeBroker, problem

ROUTE = "POST /oauth2/revoke"
VALUE = "eyJ-a-token"


def test_a_token_is_revoked_that_is_given_on_standard_input(
    broker: FakeBroker, bot: Terminal
) -> None:
    """As a form, signed as every call, and shown nowhere; exit 0."""
    broker.on(ROUTE, (200, {}))
    done = bot.run("token", "revoke", stdin=f"{VALUE}\n")
    assert (done.exit_code, VALUE in done.output) == (0, False), done.output
    (call,) = broker.made(ROUTE)
    assert call.form == {"token": VALUE}
    assert call.headers["authorization"].startswith("DPoP ") and call.headers["dpop"]


def test_a_credential_that_is_still_ending_exits_3(broker: FakeBroker, bot: Terminal) -> None:
    """And says until when it may work; once its end is proven, exit 0."""
    lease = {"lease": "lease_1", "state": "ending", "end_class": "expired"}
    broker.on(ROUTE, (200, {**lease, "still_valid_until": "2026-01-05T12:05:05+00:00"}))
    done = bot.run("token", "revoke", stdin=VALUE)
    assert (done.exit_code, "12:05:05" in done.stdout) == (3, True)
    broker.on(ROUTE, (200, {**lease, "state": "ended", "still_valid_until": None}))
    assert bot.run("token", "revoke", stdin=VALUE).exit_code == 0


def test_the_own_token_is_revoked_and_forgotten(broker: FakeBroker, bot: Terminal) -> None:
    """The next command gets another one."""
    broker.on(ROUTE, (200, {}))
    broker.on("GET /v1/tasks", (200, {"items": []}))
    assert bot.run("task", "list").exit_code == 0
    before = len(broker.made("POST /oauth2/token"))
    assert bot.run("token", "revoke", "--own").exit_code == 0
    (call,) = broker.made(ROUTE)
    assert call.headers["authorization"] == f"DPoP {call.form['token']}"
    assert bot.run("task", "list").exit_code == 0
    assert len(broker.made("POST /oauth2/token")) == before + 1


def test_nothing_is_not_sent_and_another_clients_token_is_refused(
    broker: FakeBroker, bot: Terminal
) -> None:
    """Exit 2 and exit 1."""
    assert bot.run("token", "revoke", stdin="").exit_code == 2
    assert broker.made(ROUTE) == []
    broker.on(ROUTE, (400, problem("not_found", 400)))
    done = bot.run("token", "revoke", stdin=VALUE)
    assert (done.exit_code, VALUE in done.output) == (1, False)
