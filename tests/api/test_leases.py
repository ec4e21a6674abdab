"""`/v1/leases`: renewing, acknowledging and writing off over HTTP."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.api.hall import SCOPE, Hall
from tests.api.test_journeys import shaped
from valetkey.core.errors import MinterUnavailable
from valetkey.core.lease import Patience
from valetkey.flows.sweep import sweep
from valetkey.web.api import answers

MINUTE = timedelta(minutes=1)


def got(hall: Hall, **more: object) -> Any:
    """The lease of a credential that renewals may keep alive."""
    body = {"task": hall.bot.start()["id"], "scope": SCOPE, "ttl": 300, **more}
    answer = hall.bot.call("POST", "/v1/credentials", body, Idempotency_Key="once")
    assert answer.status_code == 201, answer.text
    return shaped(answers.Issued, answer.json())["lease"]


def test_an_agent_renews_before_renew_by(hall: Hall) -> None:
    """200 with the lease as it is then, without its secret."""
    lease = got(hall, renewable_for=900)
    assert lease["renew_by"] < lease["expires_at"] < lease["renewable_until"]
    hall.stage.pass_time(MINUTE)
    answer = hall.bot.call("POST", f"/v1/leases/{lease['id']}/renew")
    assert answer.status_code == 200, answer.text
    longer = shaped(answers.Lease, answer.json())
    assert longer["expires_at"] > lease["expires_at"]
    assert (longer["renewals"], longer["renewable_until"]) == (1, lease["renewable_until"])
    assert hall.stage.minter.secrets_made[0] not in answer.text


def test_what_cannot_be_renewed_is_409_with_one_fact(hall: Hall) -> None:
    """Not asked for so, or asked for too late: the caller asks for a new credential."""
    lease = got(hall)
    answer = hall.bot.call("POST", f"/v1/leases/{lease['id']}/renew")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_renewable")
    (refusal,) = hall.facts(kind="RequestRefused")
    assert refusal.fact.task_id == lease["task"]


@pytest.mark.parametrize("wrong", [299, 0, "900", 43201, True, 900.5])
def test_a_life_that_makes_no_sense_is_422(hall: Hall, wrong: object) -> None:
    """Whole seconds, no less than the TTL, and within the limit."""
    task = hall.bot.start()["id"]
    body = {"task": task, "scope": SCOPE, "ttl": 300, "renewable_for": wrong}
    answer = hall.bot.call("POST", "/v1/credentials", body, Idempotency_Key="once")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_ttl")


def test_explain_says_the_whole_life(hall: Hall) -> None:
    """As it would be granted."""
    body = {"task": hall.bot.start()["id"], "scope": SCOPE, "ttl": 60, "renewable_for": 40000}
    told = hall.bot.call("POST", "/v1/credentials/explain", body)
    assert shaped(answers.Explanation, told.json())["renewable_for"] == 900


def test_acknowledging_is_200_before_and_after_the_end(hall: Hall) -> None:
    """The lease as it is; nothing is brought back."""
    path = f"/v1/leases/{got(hall)['id']}"
    noted = shaped(answers.Lease, hall.bot.call("POST", f"{path}/ack").json())
    assert noted["acknowledged_at"] is not None
    hall.bot.call("POST", f"{path}/revoke")
    again = hall.bot.call("POST", f"{path}/ack", {})
    assert (again.status_code, again.json()["state"]) == (200, "ending")


def test_a_scope_that_wants_to_hear_says_by_when(hall: Hall) -> None:
    """`ack_by` stands in the answer; the catalogue says it beforehand."""
    rules = hall.stage.rules
    target = rules.catalogue.targets["orders-db"]
    wants = replace(target.scopes["read"], ack_within=timedelta(seconds=30))
    changed = replace(target, scopes={**target.scopes, "read": wants})
    rules.catalogue = replace(rules.catalogue, targets={"orders-db": changed})
    offered = shaped(answers.Catalogue, hall.bot.get("/v1/catalogue"))["targets"][0]["scopes"]
    assert {x["ack_within"] for x in offered} == {30, None}
    lease = got(hall)
    hall.stage.pass_time(MINUTE)
    sweep(hall.stage.broker)
    assert hall.bot.get(f"/v1/leases/{lease['id']}")["reason"] == "unacknowledged"


def stuck(hall: Hall) -> str:
    """The path of a lease that cannot be ended."""
    lease_id = got(hall)["id"]
    path = f"/v1/leases/{lease_id}"
    hall.bot.call("POST", f"{path}/revoke")
    with hall.stage.broker.store.transaction() as tx:
        lease = tx.lease(lease_id, lock=True)
        assert lease is not None
        tx.save_lease(lease.failed("gone", tx.now(), Patience(stuck_after_tries=0), 0.5))
    hall.stage.minter.fail_end = [MinterUnavailable() for _ in range(50)]
    assert hall.bot.get(path)["state"] == "stuck"
    return path


def test_an_operator_writes_off_with_a_login_for_that_very_lease(hall: Hall) -> None:
    """401 says what to log in for; then 200, with name and reason, in the lease and its lineage."""
    path = stuck(hall)
    operator = hall.operator
    body = {"reason": "scrapped"}
    stale = operator.call("POST", f"{path}/write-off", body)
    assert (stale.status_code, stale.json()["code"]) == (401, "fresh_login_required")
    fresh = hall.fresh(operator, stale.json()["fresh_for"])
    gone = fresh.call("POST", f"{path}/write-off", body)
    assert gone.status_code == 200, gone.text
    assert shaped(answers.Lease, gone.json())["proof"] == "written_off"
    lineage = shaped(answers.Lineage, operator.get(f"{path}/lineage"))
    assert lineage["lease"]["written_off_reason"] == "scrapped"
    assert lineage["facts"][-1]["kind"] == "LeaseWrittenOff"
    task = hall.bot.call("POST", f"/v1/tasks/{gone.json()['task']}/end").json()
    assert [x["proof"] for x in task["leases"]] == ["written_off"]


@pytest.mark.parametrize("body", [None, {}, {"reason": ""}, {"reason": "  "}, {"reason": 1}])
def test_writing_off_without_a_reason_is_refused(hall: Hall, body: object) -> None:
    """Somebody will ask why."""
    path = stuck(hall)
    answer = hall.operator.call("POST", f"{path}/write-off", body)
    assert answer.status_code in {415, 422}, answer.text
    assert hall.bot.get(path)["state"] == "stuck"


@pytest.mark.parametrize("act", ["renew", "ack"])
def test_people_neither_renew_nor_acknowledge(hall: Hall, act: str) -> None:
    """That is for the key that asked."""
    path = f"/v1/leases/{got(hall, renewable_for=900)['id']}/{act}"
    assert hall.operator.call("POST", path).json()["code"] == "wrong_door"


def test_an_agent_writes_nothing_off(hall: Hall) -> None:
    """It is a person's act."""
    path = stuck(hall)
    answer = hall.bot.call("POST", f"{path}/write-off", {"reason": "mine"})
    assert answer.json()["code"] == "wrong_door"
