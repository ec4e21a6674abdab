"""What a caller should do differently is told apart: each by a real request, and by the command.

Denied by policy, by a person, timed out, waiting, expired, ended, a back end down, a wrong clock, over
a limit: over HTTP with a code of its own and something to do, and by `valetkey` with the same code,
an exit code, and what to do in its own words.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey

from tests.api.town import Town
from tests.api.town import town as town
from valetkey.cli.next_actions import INSTEAD
from valetkey.core.admission import Ceilings
from valetkey.core.errors import MinterUnavailable, catalogue

WRITE = "orders-db:write{region=eu}"
DROP = "orders-db:drop{region=eu}"
ACTIONS = {error.code: error.next_action for error in catalogue()}


def waiting(town: Town) -> tuple[str, str]:
    """A grant that waits by HTTP, and one by the command."""
    over_http = town.hall.bot.ask(town.hall.bot.start()["id"], WRITE).json()["grant"]["id"]
    code, waits = town.ask(town.task(), WRITE)
    assert code == 3
    return over_http, str(waits["grant"]["id"])


def collected(town: Town, grants: tuple[str, str]) -> tuple[Any, tuple[int, Any]]:
    """Both grants collected, each by whoever asked."""
    over_http = town.hall.bot.call("POST", f"/v1/grants/{grants[0]}/collect")
    return over_http, town.run("grant", "collect", grants[1])


Told = tuple[Any, tuple[int, Any]]


def denied_by_policy(town: Town) -> Told:
    """A scope that no rule allows."""
    return town.hall.bot.ask(town.hall.bot.start()["id"], DROP), town.ask(town.task(), DROP)


def denied_by_person(town: Town) -> Told:
    """An approver said no to both."""
    grants = waiting(town)
    for grant in grants:
        said = town.hall.approver.call("POST", f"/v1/grants/{grant}/deny", {})
        assert said.status_code == 200, said.text
    return collected(town, grants)


def approval_timed_out(town: Town) -> Told:
    """Nobody looked at them in time."""
    town.limits(approval_wait=timedelta(seconds=5))
    grants = waiting(town)
    town.hall.stage.pass_time(timedelta(seconds=6))
    return collected(town, grants)


def token_expired(town: Town) -> Told:
    """Proofs whose time is over, at the exchange."""
    over = {"iat": town.now - 100, "nbf": town.now - 100, "exp": town.now - 1}
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}
    key = ECKey.generate_key("P-256")
    over_http = town.hall.exchange({**form, "assertion": town.proof(**over)}, key)
    return over_http, town.run("task", "list", proof=town.proof(**over))


def clock_skew(town: Town) -> Told:
    """A DPoP proof, and a platform's proof, of ten minutes ahead."""
    ahead = {"iat": town.now + 600, "nbf": town.now + 600, "exp": town.now + 900}
    bot = town.hall.bot
    late = bot.proof("GET", "/v1/tasks", iat=town.now + 600)
    headers = {"Authorization": f"DPoP {bot.token}", "DPoP": late}
    over_http = town.hall.client.get("/v1/tasks", headers=headers)
    return over_http, town.run("task", "list", proof=town.proof(**ahead))


def task_ended(town: Town) -> Told:
    """Tasks that ended before."""
    over_http, by_command = town.hall.bot.start()["id"], town.task()
    assert town.hall.bot.call("POST", f"/v1/tasks/{over_http}/end").status_code == 200
    assert town.run("task", "end", by_command)[0] == 0
    return town.hall.bot.ask(over_http), town.ask(by_command)


def minter_unavailable(town: Town) -> Told:
    """The target's back end answers neither."""
    over_http, by_command = town.hall.bot.start()["id"], town.task()
    town.hall.stage.minter.fail_mint += [MinterUnavailable(), MinterUnavailable()]
    return town.hall.bot.ask(over_http), town.ask(by_command)


def rate_limited(town: Town) -> Told:
    """One lease for each task, and a second is asked for."""
    over_http, by_command = town.hall.bot.start()["id"], town.task()
    town.limits(ceilings=Ceilings(task=1))
    assert town.hall.bot.ask(over_http).status_code == 201
    assert town.ask(by_command)[0] == 0
    return town.hall.bot.ask(over_http), town.ask(by_command)


APART: dict[Callable[[Town], Told], int] = {
    denied_by_policy: 403,
    denied_by_person: 403,
    approval_timed_out: 410,
    token_expired: 400,
    clock_skew: 401,
    task_ended: 409,
    minter_unavailable: 503,
    rate_limited: 429,
}


@pytest.mark.parametrize("story", APART, ids=lambda story: story.__name__)
def test_each_of_these_is_told_apart(town: Town, story: Callable[[Town], Told]) -> None:
    """By code, status and something to do; the command by the same code, and exit 1."""
    over_http, (exit_code, document) = story(town)
    problem = over_http.json()
    assert (over_http.status_code, problem["code"]) == (APART[story], story.__name__)
    assert problem["next_action"] == ACTIONS[story.__name__]
    refused = document["refused"]
    assert (exit_code, refused["code"]) == (1, story.__name__)
    assert refused["next_action"] == INSTEAD.get(story.__name__, ACTIONS[story.__name__])
    if over_http.status_code in {429, 503}:
        assert float(problem["retry_after"]) > 0
        assert refused["retry_after"] == problem["retry_after"]


def test_waiting_is_no_refusal(town: Town) -> None:
    """202 and exit 3, when asked and when collected, with the grant; nothing is minted."""
    answer = town.hall.bot.ask(town.hall.bot.start()["id"], WRITE)
    assert (answer.status_code, answer.json()["grant"]["state"]) == (202, "waiting")
    code, told = town.ask(town.task(), WRITE)
    assert (code, told["grant"]["state"]) == (3, "waiting")
    over_http, (code, told) = collected(town, waiting(town))
    assert (over_http.status_code, over_http.json()["grant"]["state"]) == (202, "waiting")
    assert (code, told["grant"]["state"]) == (3, "waiting")
    assert town.hall.stage.minter.secrets_made == []


def test_a_broker_that_is_away_is_exit_4(town: Town) -> None:
    """Neither refused nor done; what to do is to look at the address."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        town.hall.url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    code, told = town.run("task", "list")
    assert (code, told["refused"]["code"]) == (4, "unreachable")
    assert told["refused"]["next_action"].startswith("Check the profile's address")
