"""The journeys over HTTP: asking, approving, ending, killing, looking; shapes as documented."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from tests.api.hall import SCOPE, US, Hall
from valetkey.core.facts import FactKind
from valetkey.web.api import answers

WRITE = "orders-db:write{region=eu}"


def shaped(model: type[BaseModel], body: Any) -> Any:
    """The body, which must have exactly the documented members."""
    model.model_validate(body)
    return body


def waiting(hall: Hall) -> Any:
    """A grant that waits for an approver."""
    task = hall.bot.start()
    answer = hall.bot.ask(task["id"], WRITE)
    assert answer.status_code == 202, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    return shaped(answers.Waiting, answer.json())["grant"]


def test_an_agent_gets_a_credential_once_and_its_lease_without_it(hall: Hall) -> None:
    """201 with lease and credential, not to be stored; the lease read later has no secret."""
    task = shaped(answers.Task, hall.bot.start())
    answer = hall.bot.ask(task["id"])
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    issued = shaped(answers.Issued, answer.json())
    secret = hall.stage.minter.secrets_made[0]
    assert issued["credential"]["value"] == secret
    lease = issued["lease"]
    assert (lease["requested_ttl"], lease["granted_ttl"], lease["cut_by"]) == (300, 300, "asked")
    later = hall.bot.call("GET", f"/v1/leases/{lease['id']}")
    assert secret not in later.text
    assert shaped(answers.Lease, later.json())["state"] == "active"


def test_ending_a_task_answers_with_the_same_receipt_twice(hall: Hall) -> None:
    """200 complete with every credential and its proof; again the same; the receipt too."""
    task = hall.bot.start()
    hall.bot.ask(task["id"])
    first = hall.bot.call("POST", f"/v1/tasks/{task['id']}/end")
    assert first.status_code == 200
    receipt = shaped(answers.Receipt, first.json())
    assert receipt["status"] == "complete"
    assert [lease["proof"] for lease in receipt["leases"]] == ["verified"]
    assert hall.bot.call("POST", f"/v1/tasks/{task['id']}/end", {}).json() == receipt
    assert hall.owner.get(f"/v1/tasks/{task['id']}/receipt") == receipt
    assert not hall.stage.minter.alive


def test_an_end_that_is_not_proven_yet_answers_202(hall: Hall) -> None:
    """A credential that only expires leaves the receipt settling, with its last instant."""
    hall.stage.minter.cuttable = False
    task = hall.bot.start()
    hall.bot.ask(task["id"])
    answer = hall.bot.call("POST", f"/v1/tasks/{task['id']}/end")
    assert answer.status_code == 202
    receipt = shaped(answers.Receipt, answer.json())
    assert receipt["status"] == "settling"
    assert receipt["leases"][0]["still_valid_until"]


def test_a_waiting_grant_mints_nothing_until_an_approver_with_a_fresh_login(hall: Hall) -> None:
    """202; approving needs a login for this very grant, and says what for; then one collects."""
    grant = waiting(hall)
    assert not hall.stage.minter.alive
    assert hall.bot.call("POST", f"/v1/grants/{grant['id']}/collect").status_code == 202
    path = f"/v1/grants/{grant['id']}/approve"
    stale = hall.approver.call("POST", path, {"shown_hash": grant["shown_hash"]})
    assert (stale.status_code, stale.json()["code"]) == (401, "fresh_login_required")
    assert "insufficient_user_authentication" in stale.headers["WWW-Authenticate"]
    assert stale.json()["fresh_for"] == grant["fresh_for"]
    fresh = hall.fresh(hall.approver, grant["fresh_for"])
    approved = fresh.call("POST", path, {"shown_hash": grant["shown_hash"]})
    assert approved.status_code == 200, approved.text
    assert shaped(answers.Grant, approved.json())["state"] == "approved"
    assert approved.json()["approvals"][0]["approver"] == "arun@example.com"
    collected = hall.bot.call("POST", f"/v1/grants/{grant['id']}/collect")
    assert collected.status_code == 201
    shaped(answers.Issued, collected.json())


def test_a_poll_that_still_waits_is_no_refusal(hall: Hall) -> None:
    """Collecting early answers 202 and leaves no fact behind."""
    grant = waiting(hall)
    before = len(hall.facts())
    answer = hall.bot.call("POST", f"/v1/grants/{grant['id']}/collect")
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "2")
    assert len(hall.facts()) == before


def test_an_approver_denies_and_an_agent_withdraws(hall: Hall) -> None:
    """Both answer with the grant as it is then."""
    denied = hall.approver.call("POST", f"/v1/grants/{waiting(hall)['id']}/deny")
    assert shaped(answers.Grant, denied.json())["state"] == "denied"
    withdrawn = hall.bot.call("POST", f"/v1/grants/{waiting(hall)['id']}/withdraw")
    assert shaped(answers.Grant, withdrawn.json())["state"] == "withdrawn"
    states = [grant["state"] for grant in hall.operator.get("/v1/grants")["items"]]
    assert sorted(states) == ["denied", "withdrawn"]
    only = hall.operator.get("/v1/grants?state=denied")["items"]
    assert [grant["state"] for grant in only] == ["denied"]


def test_explaining_mints_and_writes_nothing(hall: Hall) -> None:
    """The decision a request would get, with the cut of the TTL."""
    task = hall.bot.start(ttl=100)
    before = len(hall.facts())
    body = {"task": task["id"], "scope": WRITE, "ttl": 300}
    answer = hall.bot.call("POST", "/v1/credentials/explain", body)
    assert answer.status_code == 200
    told = shaped(answers.Explanation, answer.json())
    assert told["outcome"] == "needs_approval"
    assert told["needs"] == [{"group": "approvers", "count": 1}]
    assert (told["requested_ttl"], told["granted_ttl"], told["cut_by"]) == (300, 100, "task")
    assert len(hall.facts()) == before
    assert not hall.stage.minter.alive


def test_an_agent_is_provisioned_accepted_changed_and_disabled(hall: Hall) -> None:
    """CI within its rule, its owner once, narrower only, and an end."""
    wanted = {
        "name": "refund-two",
        "owner": "olivia@example.com",
        "team": "refunds",
        "labels": {"environment": "production"},
        "boundary": ["orders-db:read"],
        "bindings": [{"issuer": "workloads", "claims": {"sub": "two"}}],
    }
    made = hall.job.call("POST", "/v1/agents", wanted)
    assert made.status_code == 201, made.text
    agent = shaped(answers.Agent, made.json())
    assert (agent["state"], agent["created_by_rule"]) == ("proposed", "refunds-ci")
    assert agent["bindings"][0]["claims"] == {"sub": "two"}
    accepted = hall.owner.call("POST", "/v1/agents/refund-two/accept")
    assert shaped(answers.Agent, accepted.json())["state"] == "accepted"
    path = f"/v1/agents/{agent['id']}"
    narrowed = hall.owner.call("PATCH", path, {"boundary": [SCOPE]})
    assert shaped(answers.Agent, narrowed.json())["boundary"] == [SCOPE]
    widened = hall.job.call("PATCH", path, {"boundary": ["orders-db:read"]})
    assert widened.status_code == 403
    third = {"issuer": "workloads", "claims": {"sub": "three"}}
    assert hall.job.call("POST", f"{path}/bindings", third).json()["code"] == "role_required"
    bound = hall.owner.call("POST", f"{path}/bindings", third)
    assert bound.status_code == 201
    shaped(answers.Binding, bound.json())
    ended = hall.operator.call("POST", f"{path}/disable", {})
    assert shaped(answers.Agent, ended.json())["state"] == "disabled"
    names = [one["name"] for one in hall.owner.get("/v1/agents")["items"]]
    assert names == ["refund-bot", "refund-two"]
    assert [one["name"] for one in hall.bot.get("/v1/agents")["items"]] == ["refund-bot"]


def test_ci_may_not_provision_outside_its_rule(hall: Hall) -> None:
    """Another owner than the rule allows: refused, on record, and nothing is made."""
    wanted = {"name": "refund-x", "owner": "eve@example.com", "team": "refunds", "boundary": []}
    refused = hall.job.call("POST", "/v1/agents", wanted)
    assert (refused.status_code, refused.json()["code"]) == (403, "outside_trust_rule")
    assert hall.refusals() == ["outside_trust_rule"]
    assert len(hall.operator.get("/v1/agents")["items"]) == 1


def test_the_catalogue_shows_an_agent_only_what_its_boundary_reaches(hall: Hall) -> None:
    """A person sees every scope; an agent those of its boundary."""
    every = shaped(answers.Catalogue, hall.operator.get("/v1/catalogue"))
    assert [scope["name"] for scope in every["targets"][0]["scopes"]] == ["read", "write", "drop"]
    hall.owner.call("PATCH", "/v1/agents/refund-bot", {"boundary": ["orders-db:read"]})
    own = shaped(answers.Catalogue, hall.bot.get("/v1/catalogue"))
    assert [scope["name"] for scope in own["targets"][0]["scopes"]] == ["read"]
    assert own["targets"][0]["scopes"][0]["parameters"][0]["values"] == ["eu", "us"]


def test_a_revoked_lease_is_on_its_way_out_and_its_lineage_tells_all(hall: Hall) -> None:
    """202 with the lease ending; lineage in one call names agent, task, decision and facts."""
    lease = hall.bot.ask(hall.bot.start()["id"]).json()["lease"]
    revoked = hall.owner.call("POST", f"/v1/leases/{lease['id']}/revoke")
    assert revoked.status_code == 202
    assert shaped(answers.Lease, revoked.json())["state"] == "ending"
    told = shaped(answers.Lineage, hall.operator.get(f"/v1/leases/{lease['id']}/lineage"))
    assert told["agent"]["name"] == "refund-bot"
    assert told["decision"]["outcome"] == "allow"
    assert told["task"]["purpose"] == "a refund"
    kinds = [fact["kind"] for fact in told["facts"]]
    assert kinds == ["TaskStarted", "AskAllowed", "LeaseWritten", "LeaseMinted", "LeaseEnding"]
    assert hall.owner.get("/v1/leases?state=ending")["items"][0]["id"] == lease["id"]


def test_a_kill_ends_what_it_covers_and_another_operator_releases_it(hall: Hall) -> None:
    """202 with progress; released by somebody else with a login fresh for it."""
    hall.bot.ask(hall.bot.start()["id"])
    body = {"height": "agent", "subject": "refund-bot", "reason": "drill"}
    ordered = hall.operator.call("POST", "/v1/kill", body)
    assert ordered.status_code == 202, ordered.text
    kill = shaped(answers.Kill, ordered.json())
    assert (kill["unended"], kill["ended"], kill["cannot_be_cut"]) == (0, 1, [])
    assert hall.operator.get(f"/v1/kill/{kill['id']}") == kill
    other = hall.visitor(hall.stage.person("oscar@example.com", roles={"operator"}))
    path = f"/v1/kill/{kill['id']}/release"
    stale = other.call("POST", path)
    assert stale.json()["fresh_for"] == f"release:{kill['id']}"
    released = hall.fresh(other, stale.json()["fresh_for"]).call("POST", path)
    assert shaped(answers.Kill, released.json())["released_by"]


def test_a_kill_says_what_it_cannot_cut_and_until_when(hall: Hall) -> None:
    """A credential that only expires is named with its last instant."""
    hall.stage.minter.cuttable = False
    lease = hall.bot.ask(hall.bot.start()["id"]).json()["lease"]
    body = {"height": "everything", "reason": "drill"}
    kill = shaped(answers.Kill, hall.operator.call("POST", "/v1/kill", body).json())
    assert kill["unended"] == 1
    assert kill["cannot_be_cut"][0]["lease"] == lease["id"]
    assert kill["cannot_be_cut"][0]["still_valid_until"]


def test_history_is_paged_by_number_and_owners_see_their_own(hall: Hall) -> None:
    """Pages follow each other without gap or repeat; an owner never sees another's."""
    for _ in range(3):
        hall.bot.ask(hall.bot.start()["id"])
    every = shaped(answers.History, hall.operator.get("/v1/history"))
    numbers = [fact["number"] for fact in every["items"]]
    assert every["next"] is None
    paged: list[int] = []
    cursor = ""
    while True:
        page = hall.operator.get(f"/v1/history?limit=4{cursor}")
        paged += [fact["number"] for fact in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert paged == numbers
    minted = hall.owner.get("/v1/history?kind=LeaseMinted&owner=other@example.com")
    assert {fact["owner"] for fact in minted["items"]} == {"olivia@example.com"}
    stranger = hall.visitor(hall.stage.person("sam@example.com"))
    assert stranger.get("/v1/history")["items"] == []


def test_a_person_without_role_or_address_sees_nothing(hall: Hall) -> None:
    """No address is not a filter that matches everything."""
    hall.bot.ask(hall.bot.start()["id"])
    nobody = hall.visitor(replace(hall.stage.person("sam@example.com"), email=None))
    for noun in ("tasks", "leases", "grants", "agents"):
        assert nobody.get(f"/v1/{noun}")["items"] == [], noun
    refused = nobody.call("GET", "/v1/history")
    assert (refused.status_code, refused.json()["code"]) == (403, "role_required")


def test_what_is_not_yours_is_not_there(hall: Hall) -> None:
    """Another agent's task, and a stranger's view of grant and lease: 404 as for unknown ids."""
    task = hall.bot.start()
    lease = hall.bot.ask(task["id"]).json()["lease"]
    stranger = hall.visitor(hall.stage.person("sam@example.com"))
    unknown = stranger.call("GET", f"/v1/tasks/task_{'0' * 26}").json()
    for path in (
        f"/v1/tasks/{task['id']}",
        f"/v1/leases/{lease['id']}",
        f"/v1/leases/{lease['id']}/lineage",
        f"/v1/grants/{lease['grant']}",
        "/v1/agents/refund-bot",
        "/v1/agents/nobody",
    ):
        answer = stranger.call("GET", path)
        assert answer.json() == unknown, path


def test_the_idempotency_answers_name_the_lease(hall: Hall) -> None:
    """Repeated at once: in progress; with another ask: mismatch; a lost answer: a new lease."""
    task = hall.bot.start()["id"]
    first = hall.bot.ask(task, key="once").json()["lease"]
    again = hall.bot.ask(task, key="once")
    assert (again.status_code, again.json()["code"]) == (409, "in_progress")
    assert again.json()["lease_id"] == first["id"]
    assert again.headers["Retry-After"] == "2"
    other = hall.bot.ask(task, "orders-db:read{region=us}", key="once")
    assert other.json()["code"] == "idempotency_mismatch"
    lost = hall.bot.ask(task, key="once", Redeliver=first["id"])
    assert lost.status_code == 201, lost.text
    assert lost.json()["lease"]["id"] != first["id"]


def test_a_denial_carries_its_decision_and_one_fact(hall: Hall) -> None:
    """403 with the decision's id; AskDenied and no second fact."""
    task = hall.bot.start()
    before = len(hall.facts())
    denied = hall.bot.ask(task["id"], "orders-db:drop{region=eu}")
    assert (denied.status_code, denied.json()["code"]) == (403, "denied_by_policy")
    assert denied.json()["decision_id"].startswith("decision_")
    assert [entry.fact.kind for entry in hall.facts()[before:]] == [FactKind.ASK_DENIED]


def test_proofs_are_held_to_the_configured_address_alone(hall: Hall) -> None:
    """Host and forwarded headers change nothing: the proof names the configured address."""
    answer = hall.bot.call("GET", "/v1/tasks", Host="evil.example", X_Forwarded_Host="evil.example")
    assert answer.status_code == 200
    headers = hall.bot.headers("GET", "/v1/tasks")
    headers["DPoP"] = hall.bot.proof("GET", "/v1/tasks", htu="http://elsewhere/v1/tasks")
    wrong = hall.client.get("/v1/tasks", headers=headers)
    assert wrong.json()["code"] == "invalid_dpop_proof"
    assert US not in wrong.text
