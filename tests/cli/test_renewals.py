"""The client keeps a credential alive, and says that it came, by itself."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli import samples
from tests.cli.conftest import TOKEN, Terminal
from tests.cli.fake_broker import FakeBroker, problem
from tests.cli.test_run import OPTIONS, _run
from valetkey.agentside.client import Ask, Granted, Valetkey
from valetkey.agentside.dpop import DpopKey
from valetkey.agentside.identity import from_file
from valetkey.agentside.renewal import Renewals

RENEW = "POST /v1/leases/lease_1/renew"
ACK = "POST /v1/leases/lease_1/ack"
ASK = Ask("task_1", "orders-db:read{region=eu}", 60, renewable_for=900)


def lease(seconds: float | None, **more: object) -> dict[str, Any]:
    """A lease that must be renewed within so many seconds, or never."""
    at = datetime.now(UTC) + timedelta(seconds=seconds or 0)
    return {**samples.LEASE, "renew_by": at.isoformat() if seconds else None, **more}


@pytest.fixture
def client(broker: FakeBroker, tmp_path: Path) -> Iterator[Valetkey]:
    """An agent's connection."""
    token = tmp_path / "identity.jwt"
    token.write_text(TOKEN)
    with Valetkey(broker.url, DpopKey.kept(tmp_path / "key.json"), from_file(token)) as opened:
        yield opened


def seen(true: Callable[[], bool]) -> bool:
    """Whether it becomes true within ten seconds."""
    until = time.monotonic() + 10
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    return true()


def test_a_credential_is_renewed_until_there_is_no_more_to_be_had(
    client: Valetkey, broker: FakeBroker
) -> None:
    """Each answer says before when to renew again; the last one says nothing."""
    broker.on(RENEW, (200, lease(1)), (200, lease(None)))
    with Renewals(client, lease(1)) as renewals:
        assert seen(lambda: len(broker.made(RENEW)) == 2)
    assert renewals.lost is None
    assert len(broker.made(RENEW)) == 2


def test_what_is_not_renewable_is_not_renewed(client: Valetkey, broker: FakeBroker) -> None:
    """Nothing is sent."""
    with Renewals(client, lease(None)):
        pass
    assert broker.made(RENEW) == []


@pytest.mark.parametrize("code", ["not_renewable", "task_ended", "killed"])
def test_renewals_stop_when_they_are_refused(
    client: Valetkey, broker: FakeBroker, code: str
) -> None:
    """And say what with."""
    broker.on(RENEW, (409, problem(code, 409)))
    with Renewals(client, lease(1)) as renewals:
        assert seen(lambda: renewals.lost == code)
    assert len(broker.made(RENEW)) == 1


def test_renewals_outlive_what_passes(client: Valetkey, broker: FakeBroker) -> None:
    """A broker that is away, or another renewal under way: the next one may get through."""
    away = (503, problem("store_unavailable", 503))
    broker.on(RENEW, away, (409, problem("in_progress", 409)), (200, lease(None)))
    with Renewals(client, lease(1)) as renewals:
        assert seen(lambda: len(broker.made(RENEW)) == 3)
    assert renewals.lost is None


def test_what_wants_to_be_acknowledged_is(client: Valetkey, broker: FakeBroker) -> None:
    """Right after it came; the caller is given the lease as it is then."""
    wants = lease(None, ack_by="2026-01-01T00:00:30+00:00")
    broker.on("POST /v1/credentials", (201, {"lease": wants, "credential": samples.CREDENTIAL}))
    away = (500, problem("internal", 500))
    broker.on(ACK, (200, {**wants, "acknowledged_at": "2026-01-01T00:00:01+00:00"}), away)
    got = client.request(ASK)
    assert isinstance(got, Granted)
    assert got.lease["acknowledged_at"] is not None
    assert broker.made("POST /v1/credentials")[0].json["renewable_for"] == 900


def test_what_does_not_ask_for_it_is_not_acknowledged(
    client: Valetkey, broker: FakeBroker
) -> None:
    """No call more than before."""
    given = {"lease": lease(None, ack_by=None), "credential": samples.CREDENTIAL}
    broker.on("POST /v1/credentials", (201, given))
    client.request(ASK)
    assert broker.made(ACK) == []


def test_a_command_that_runs_long_keeps_its_credential(bot: Terminal, broker: FakeBroker) -> None:
    """`run --renewable-for` renews meanwhile, in a task that lasts as long."""
    broker.on("POST /v1/tasks", (201, samples.TASK))
    given = {"lease": lease(2), "credential": samples.CREDENTIAL}
    broker.on("POST /v1/credentials", (201, given))
    broker.on("POST /v1/tasks/task_1/end", (200, samples.RECEIPT))
    broker.on(RENEW, (200, lease(None)))
    waits = "import time; time.sleep(2)"
    done = _run(bot, *OPTIONS, "--renewable-for", "15m", "--purpose", "x", "--", sys.executable, "-c", waits)
    assert done.returncode == 0, done.stderr
    assert len(broker.made(RENEW)) == 1
    assert broker.made("POST /v1/tasks")[0].json["ttl"] == 900
    assert broker.made("POST /v1/credentials")[0].json["renewable_for"] == 900


def test_the_commands_renew_and_acknowledge(bot: Terminal, broker: FakeBroker) -> None:
    """Each prints the lease; an acknowledgement that came too late exits 1."""
    broker.on(RENEW, (200, lease(60)))
    assert bot.json("lease", "renew", "lease_1")["id"] == "lease_1"
    broker.on(ACK, (200, lease(None, state="active")), (200, lease(None, state="ended")))
    assert bot.run("lease", "ack", "lease_1").exit_code == 0
    done = bot.run("lease", "ack", "lease_1", "--json")
    assert (done.exit_code, json.loads(done.stdout)["state"]) == (1, "ended")
