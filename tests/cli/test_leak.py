"""`valetkey leak report`: the value from standard input, and never shown."""

from __future__ import annotations

import pytest

from tests.cli import samples
from tests.cli.conftest import Terminal
from tests.cli.fake_broker import FakeBroker, problem

ROUTE = "POST /v1/leaks"
VALUE = "s3cret-of-an-orders-db"


def test_the_value_comes_from_standard_input(broker: FakeBroker, bot: Terminal) -> None:
    """Sent without the line's end, shown nowhere; exit 0."""
    broker.on(ROUTE, (202, {"status": "reported"}))
    done = bot.run("leak", "report", stdin=f"{VALUE}\n")
    assert done.exit_code == 0, done.output
    assert VALUE not in done.output
    assert "reported" in done.stdout
    (call,) = broker.made(ROUTE)
    assert call.json == {"value": VALUE}


def test_a_person_with_a_role_sees_the_lineage(broker: FakeBroker, person: Terminal) -> None:
    """Lease, agent and rules for people, the whole answer for machines."""
    answer = {"status": "reported", "found": [samples.LINEAGE]}
    broker.on(ROUTE, (202, answer))
    shown = person.run("leak", "report", stdin=VALUE).stdout
    assert samples.LINEAGE["lease"]["id"] in shown and "1 of our leases" in shown
    broker.on(ROUTE, (202, {"status": "reported", "found": []}))
    assert "not one of ours" in person.run("leak", "report", stdin=VALUE).stdout


@pytest.mark.parametrize("stdin", ["", "\n", "x" * 20_000])
def test_nothing_and_too_much_are_not_sent(broker: FakeBroker, bot: Terminal, stdin: str) -> None:
    """Exit 2, and the broker hears nothing."""
    done = bot.run("leak", "report", stdin=stdin)
    assert done.exit_code == 2
    assert broker.made(ROUTE) == []


def test_the_value_is_no_argument(broker: FakeBroker, bot: Terminal) -> None:
    """It would stand in the shell's history and the process list; exit 2, nothing is sent."""
    assert bot.run("leak", "report", VALUE).exit_code == 2
    assert broker.made(ROUTE) == []


def test_a_refusal_does_not_show_the_value(broker: FakeBroker, bot: Terminal) -> None:
    """Exit 1 with code and next action."""
    broker.on(ROUTE, (429, problem("rate_limited", 429)))
    done = bot.run("leak", "report", stdin=VALUE)
    assert done.exit_code == 1
    assert "rate_limited" in done.stderr and VALUE not in done.output
