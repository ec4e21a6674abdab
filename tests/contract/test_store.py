"""What every store does, in memory and on PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import compress

import pytest

from tests.contract.examples import MINUTE, Examples
from valetkey.core.comparison import Known
from valetkey.core.facts import Fact, FactKind, HistoryQuery
from valetkey.core.grant import GrantState
from valetkey.core.kill import Height, Reach, stops
from valetkey.core.lease import Handle, LeaseState, Patience, Proof
from valetkey.core.task import TaskState
from valetkey.ports import Mine, Store

CLAIM = timedelta(seconds=20)


@pytest.fixture
def some(store: Store) -> Examples:
    """Examples around the store's time."""
    return Examples(store)


@pytest.fixture
def grounded(store: Store, some: Examples) -> Store:
    """The store with an agent, a task and a grant in it."""
    with store.transaction() as tx:
        some.ground(tx)
    return store


def test_time_is_aware_and_moves_only_forward(store: Store) -> None:
    """Both clocks of a store speak UTC and agree."""
    first = store.now()
    with store.transaction() as tx:
        second = tx.now()
        tx.hold_barrier()
        third = tx.now()
    assert first.utcoffset() == timedelta(0)
    assert first <= second <= third <= store.now()


def test_what_is_written_is_read_back_whole(grounded: Store, some: Examples) -> None:
    """Every kind of value survives the store unchanged."""
    with grounded.transaction() as tx:
        tx.add_binding(some.binding())
        tx.add_approval(some.approval())
        tx.add_lease(some.lease())
        tx.add_kill(some.kill())
        tx.record_decision("decision_1", some.decision())
    with grounded.transaction() as tx:
        assert tx.agent("agent_1") == some.agent()
        assert tx.bindings("agent_1") == [some.binding()]
        assert tx.task("task_1") == some.task()
        assert tx.grant("grant_1") == some.grant()
        assert tx.approvals("grant_1") == [some.approval()]
        assert tx.lease("lease_0001") == some.lease()
        assert tx.kill("kill_1") == some.kill()


def test_a_decision_is_kept_with_its_whole_input(store: Store, some: Examples) -> None:
    """It can be explained and replayed for ever."""
    with store.transaction() as tx:
        tx.record_decision("decision_1", some.decision())
    with store.transaction() as tx:
        kept = tx.decision("decision_1")
        assert tx.decision("decision_2") is None
    assert kept is not None
    assert {key: value for key, value in kept.items() if key != "at"} == {
        "id": "decision_1",
        "outcome": "needs_approval",
        "rules": ["rule-1", "rule-2"],
        "policy_hash": "p" * 64,
        "catalogue_digest": "digest",
        "recorded_input": {"context": {"ttl": 300, "list": ["a"]}},
        "needs": [["approvers", 1]],
        "max_ttl_seconds": 300,
        "problem": None,
    }


def test_what_is_unknown_is_none_or_empty(store: Store) -> None:
    """Nothing raises for what is not there."""
    with store.transaction() as tx:
        assert tx.agent("x") is None
        assert tx.agent_named("x") is None
        assert tx.task("x", lock=True) is None
        assert tx.task("x", share=True) is None
        assert tx.grant("x", lock=True) is None
        assert tx.grant_by_key("x", "y") is None
        assert tx.lease("x", lock=True) is None
        assert tx.kill("x") is None
        assert tx.agents() == tx.tasks(None, None) == tx.grants(None, None) == []
        assert tx.leases(None, None, None) == tx.bindings("x") == tx.approvals("x") == []


def test_a_transaction_that_raises_leaves_nothing(store: Store, some: Examples) -> None:
    """Neither rows nor facts of it are kept."""
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        some.ground(tx)
        tx.record(Fact(FactKind.TASK_STARTED, "x"))
        raise ZeroDivisionError
    with store.transaction() as tx:
        assert tx.agents() == []
        assert tx.history(HistoryQuery()) == []


def test_saving_changes_what_is_there(grounded: Store, some: Examples) -> None:
    """Agents, tasks, grants and kills are written as they are now."""
    with grounded.transaction() as tx:
        tx.add_kill(some.kill())
        tx.save_agent(some.agent().disabled())
        tx.save_task(some.task().ended("deadline", some.now))
        tx.save_grant(some.grant().moved(GrantState.DENIED))
        tx.save_kill(some.kill(released_at=some.now, released_by="other"))
    with grounded.transaction() as tx:
        assert tx.agent("agent_1") == some.agent().disabled()
        assert tx.task("task_1") == some.task().ended("deadline", some.now)
        assert tx.grant("grant_1") == some.grant().moved(GrantState.DENIED)
        assert tx.kill("kill_1") == some.kill(released_at=some.now, released_by="other")


def test_an_agents_name_is_taken_once(store: Store, some: Examples) -> None:
    """The second is told so and the transaction goes on."""
    with store.transaction() as tx:
        assert tx.add_agent(some.agent(2))
        assert not tx.add_agent(some.agent(1, name="bot-2"))
        assert tx.add_agent(some.agent(1))
    with store.transaction() as tx:
        assert [agent.name for agent in tx.agents()] == ["bot-1", "bot-2"]
        assert tx.agent_named("bot-2") == some.agent(2)


def test_a_workload_identity_is_bound_once(store: Store, some: Examples) -> None:
    """The same claims under another issuer are another identity."""
    with store.transaction() as tx:
        tx.add_agent(some.agent())
        assert tx.add_binding(some.binding(1))
        assert not tx.add_binding(some.binding(2, claims=some.binding(1).claims))
        assert tx.add_binding(some.binding(3, claims=some.binding(1).claims, issuer="other"))
        assert tx.bindings_of_issuer("cluster") == [some.binding(1)]


def test_one_person_has_one_verdict_on_a_grant(grounded: Store, some: Examples) -> None:
    """The first counts, the second replaces nothing."""
    with grounded.transaction() as tx:
        tx.add_approval(some.approval(1, verdict="deny"))
        tx.add_approval(some.approval(2, approver="person-1@example.com"))
        tx.add_approval(some.approval(3))
    with grounded.transaction() as tx:
        assert [a.verdict for a in tx.approvals("grant_1")] == ["deny", "approve"]


def test_a_grant_is_found_by_its_key_within_its_task(grounded: Store, some: Examples) -> None:
    """A key means nothing in another task."""
    with grounded.transaction() as tx:
        assert tx.grant_by_key("task_1", "key-1") == some.grant()
        assert tx.grant_by_key("task_2", "key-1") is None
        assert tx.grant_by_key("task_1", "key-2") is None


def test_a_key_that_was_forgotten_is_free_for_another_grant(
    grounded: Store, some: Examples
) -> None:
    """Saved in the same transaction in which another one takes it."""
    with grounded.transaction() as tx:
        tx.save_grant(some.grant().without_key())
        tx.add_grant(replace(some.grant(2), idempotency_key="key-1"))
    with grounded.transaction() as tx:
        found = tx.grant_by_key("task_1", "key-1")
        assert found is not None and found.id == "grant_2"
        assert tx.grant("grant_1") == some.grant().without_key()


def test_grants_are_listed_newest_first(grounded: Store, some: Examples) -> None:
    """By state, by task, or all."""
    with grounded.transaction() as tx:
        tx.add_grant(some.grant(2, state=GrantState.GRANTED))
        tx.add_grant(some.grant(3))
    with grounded.transaction() as tx:
        assert [x.id for x in tx.grants(None, None)] == ["grant_3", "grant_2", "grant_1"]
        assert [x.id for x in tx.grants("waiting", "task_1")] == ["grant_3", "grant_1"]
        assert tx.grants(None, "task_2") == []


def test_grants_that_waited_too_long_are_found(grounded: Store, some: Examples) -> None:
    """Only those of the state asked for, at or past their instant."""
    with grounded.transaction() as tx:
        tx.add_grant(some.grant(2, waits_until=some.now))
        tx.add_grant(some.grant(3, waits_until=some.now, state=GrantState.DENIED))
    with grounded.transaction() as tx:
        overdue = tx.grants_overdue(GrantState.WAITING, some.now)
    assert [x.id for x in overdue] == ["grant_2"]


def test_tasks_past_their_deadline_are_found(store: Store, some: Examples) -> None:
    """Open ones only, and no more than wanted."""
    late = {"deadline_at": some.now - MINUTE}
    with store.transaction() as tx:
        tx.add_agent(some.agent())
        tx.add_task(some.task(1))
        tx.add_task(some.task(2, **late))
        tx.add_task(some.task(3, **late))
        tx.add_task(some.task(4, state=TaskState.ENDED, ended_at=some.now, **late))
    with store.transaction() as tx:
        assert {x.id for x in tx.tasks_overdue(10)} == {"task_2", "task_3"}
        assert len(tx.tasks_overdue(1)) == 1


def test_tasks_are_listed_by_agent_and_owner(grounded: Store, some: Examples) -> None:
    """Newest first."""
    with grounded.transaction() as tx:
        tx.add_agent(some.agent(2))
        tx.add_task(some.task(2, agent_id="agent_2"))
        tx.add_task(some.task(3, owner="other@example.com"))
        assert [x.id for x in tx.tasks(None, None)] == ["task_3", "task_2", "task_1"]
        assert [x.id for x in tx.tasks("agent_1", None)] == ["task_3", "task_1"]
        assert [x.id for x in tx.tasks("agent_1", "other@example.com")] == ["task_3"]


def test_leases_are_listed_by_state_agent_owner_task_and_grant(
    grounded: Store, some: Examples
) -> None:
    """Lists are newest first; those of a task or grant oldest first."""
    with grounded.transaction() as tx:
        tx.add_lease(some.lease(1))
        tx.add_lease(some.due(2, owner="other@example.com"))
        tx.add_lease(some.lease(3, grant_id=None, task_id=None, agent_id=None))
        ids = ["lease_0001", "lease_0002", "lease_0003"]
        assert [x.id for x in tx.leases(None, None, None)] == ids[::-1]
        assert [x.id for x in tx.leases("active", None, None)] == [ids[2], ids[0]]
        assert [x.id for x in tx.leases("ending", "agent_1", None)] == [ids[1]]
        assert [x.id for x in tx.leases(None, None, "other@example.com")] == [ids[1]]
        assert [x.id for x in tx.leases_of_task("task_1")] == ids[:2]
        assert [x.id for x in tx.leases_of_grant("grant_1")] == ids[:2]


def test_what_a_lease_is_called_outside_is_read_without_the_rest(
    grounded: Store, some: Examples
) -> None:
    """Of all that is not ended at one minter, or of some by their ids, ended or not."""
    ended = {"state": LeaseState.ENDED, "proof": Proof.VERIFIED, "due_at": None}
    other = Handle("other", "orders-db", "vk-3")
    with grounded.transaction() as tx:
        tx.add_lease(some.lease(1))
        tx.add_lease(some.lease(2, **ended))
        tx.add_lease(some.lease(3, handle=other))
        (known,) = tx.unended_names("fake")
        found = {x.lease_id: x.state for x in tx.names_of(["lease_0002", "lease_0003", "x"])}
        assert tx.names_of([]) == []
    assert known == Known(
        "lease_0001", "orders-db", "vk-1", LeaseState.ACTIVE, some.lease(1).backend_expires_at
    )
    assert found == {"lease_0002": LeaseState.ENDED, "lease_0003": LeaseState.ACTIVE}


def test_a_lease_is_saved_only_while_its_fence_stands(grounded: Store, some: Examples) -> None:
    """The second writer of one reading is refused and changes nothing."""
    with grounded.transaction() as tx:
        tx.add_lease(some.lease())
        assert tx.save_lease(some.lease().ending("revoked", some.now))
        assert not tx.save_lease(some.lease().ended(Proof.VERIFIED, some.now))
        assert not tx.save_lease(some.lease(2))
    with grounded.transaction() as tx:
        saved = tx.lease("lease_0001")
    assert saved is not None
    assert (saved.state, saved.fence) == (LeaseState.ENDING, 2)


def test_a_lease_moves_through_the_store_as_it_moves_in_thought(
    grounded: Store, some: Examples
) -> None:
    """Every field that a move changes is kept, from minting to ended and back."""
    patience = Patience()
    at = some.now
    lease = some.lease(state=LeaseState.MINTING, activated_at=None, back_ref=None, fingerprints=())
    moves = [
        lambda x: x.activated(at, at + MINUTE, "ref", ("f",)),
        lambda x: x.ending("revoked", at),
        lambda x: x.seen().failed("away", at, patience, 0.5),
        lambda x: x.waits_for_expiry(at + 9 * MINUTE),
        lambda x: x.tapped_once(),
        lambda x: x.ended(Proof.EXPIRED, at),
        lambda x: x.reappeared(at),
        lambda x: x.ended(Proof.VERIFIED, at),
    ]
    with grounded.transaction() as tx:
        tx.add_lease(lease)
    for move in moves:
        with grounded.transaction() as tx:
            current = tx.lease(lease.id, lock=True)
            assert current is not None
            after = move(current)
            assert tx.save_lease(after)
        with grounded.transaction() as tx:
            assert tx.lease(lease.id) == replace(after, fence=after.fence + 1)


def test_claiming_takes_what_is_due_and_pushes_it(grounded: Store, some: Examples) -> None:
    """A claimed lease has the next fence, one more try, and comes due again after the claim."""
    with grounded.transaction() as tx:
        tx.add_lease(some.due(1, tries=3))
        tx.add_lease(some.lease(2))
        tx.add_lease(some.lease(3).ended(Proof.VERIFIED, some.now))
    with grounded.transaction() as tx:
        (claimed,) = tx.claim_due(10, CLAIM, (), ())
        assert tx.claim_due(10, CLAIM, (), ()) == []
    assert (claimed.id, claimed.fence, claimed.tries) == ("lease_0001", 2, 4)
    assert claimed.due_at is not None
    with grounded.transaction() as tx:
        assert some.now + CLAIM <= claimed.due_at <= tx.now() + CLAIM
        assert tx.lease("lease_0001") == claimed
        assert not tx.save_lease(some.due(1).ended(Proof.VERIFIED, some.now))


def test_every_unended_state_comes_due(grounded: Store, some: Examples) -> None:
    """Minting, active, ending and stuck alike: stuck is retried for ever."""
    states = [x for x in LeaseState if x is not LeaseState.ENDED]
    with grounded.transaction() as tx:
        for number, state in enumerate(states):
            tx.add_lease(replace(some.due(number), state=state))
    with grounded.transaction() as tx:
        claimed = tx.claim_due(10, CLAIM, (), ())
    assert {x.state for x in claimed} == set(states)


def test_a_claim_can_be_of_named_leases_but_not_of_full_targets(
    grounded: Store, some: Examples
) -> None:
    """`only` narrows, `but_targets` leaves out, `limit` takes the longest due."""
    with grounded.transaction() as tx:
        tx.add_lease(some.due(1, ago=1))
        tx.add_lease(some.due(2, ago=9))
        tx.add_lease(some.due(3, ago=5, target="archive"))
    with grounded.transaction() as tx:
        assert [x.id for x in tx.claim_due(9, CLAIM, (), ("orders-db",))] == ["lease_0003"]
        assert tx.claim_due(9, CLAIM, ("lease_0003", "lease_9"), ()) == []
        assert [x.id for x in tx.claim_due(1, CLAIM, (), ())] == ["lease_0002"]
        assert [x.id for x in tx.claim_due(9, CLAIM, ("lease_0001",), ())] == ["lease_0001"]


def test_a_claim_can_be_of_the_minters_one_has(grounded: Store, some: Examples) -> None:
    """What another minter made is left as it was, until nobody took it for long."""
    lunar = replace(some.due(1).handle, minter="lunar")
    with grounded.transaction() as tx:
        tx.add_lease(some.due(1, ago=9, handle=lunar))
        tx.add_lease(some.due(2))
    with grounded.transaction() as tx:
        assert [x.id for x in tx.claim_due(9, CLAIM, (), (), Mine(["fake", "other"], MINUTE))] == ["lease_0002"]
        assert tx.claim_due(9, CLAIM, (), (), Mine([], MINUTE)) == []
        assert [x.id for x in tx.left_alone(["fake"], 9)] == ["lease_0001"]
        assert list(tx.left_alone(["fake", "lunar"], 9)) == []
        left = tx.lease("lease_0001")
        assert left is not None and (left.tries, left.fence) == (0, 1)
        forsaken = tx.claim_due(9, CLAIM, (), (), Mine(["fake"], timedelta(seconds=1)))
        assert [x.id for x in forsaken] == ["lease_0001"]


def test_a_claim_can_be_of_one_target(grounded: Store, some: Examples) -> None:
    """The one lease with which a target that is left alone is tried."""
    with grounded.transaction() as tx:
        tx.add_lease(some.due(1, ago=9))
        tx.add_lease(some.due(2, ago=5, target="archive"))
        tx.add_lease(some.due(3, ago=1, target="archive"))
    archive = Mine(["fake"], MINUTE, "archive")
    with grounded.transaction() as tx:
        assert [x.id for x in tx.claim_due(1, CLAIM, (), (), archive)] == ["lease_0002"]
        assert [x.id for x in tx.claim_due(9, CLAIM, (), (), archive)] == ["lease_0003"]


@pytest.mark.parametrize(
    ("height", "subject"),
    [
        (Height.EVERYTHING, ""),
        (Height.AGENT, "agent_1"),
        (Height.TASK, "task_1"),
        (Height.TARGET, "orders-db"),
        (Height.LEASE, "lease_0001"),
        (Height.OWNER, "olivia@example.com"),
        (Height.VENDOR, "acme"),
        (Height.ISSUER, "cluster"),
        (Height.PERSON, "pat@example.com"),
        (Height.PERSON, "https://people pat ü"),
        (Height.SCOPE, "orders-db:read"),
    ],
)
def test_a_kill_covers_what_is_under_it(
    grounded: Store, some: Examples, height: Height, subject: str
) -> None:
    """At each height it is seen over its reach, and finds its leases; released, it is not."""
    scope = "orders-db:read{region=eu}"
    who = {"owner": "olivia@example.com", "vendor": "acme", "issuer": "cluster"}
    who |= {"person": "https://people pat ü", "person_email": "pat@example.com"}
    reach = Reach("agent_1", "task_1", "orders-db", "lease_0001", scope=scope, **who)
    other = Reach("agent_2", "task_2", "archive", "lease_0002", "o", "v", "i", "archive:read")
    ordered = some.kill(height=height, subject=subject)
    stranger = {"agent_id": None, "task_id": None, "grant_id": None, "target": "archive"}
    stranger |= {"owner": "", "scope": ""}
    with grounded.transaction() as tx:
        tx.save_agent(some.agent(labels={"vendor": "acme"}))
        tx.add_delegation(some.delegation())
        tx.save_task(some.task(issuer="cluster", delegation_id="delegation_1"))
        tx.add_lease(some.lease(1))
        tx.add_lease(some.lease(2, **stranger))
        tx.add_kill(ordered)
        everything = height is Height.EVERYTHING
        assert tx.kills_over(reach) == [ordered]
        assert tx.kills_over(other) == ([ordered] if everything else [])
        assert [x.id for x in tx.live_leases(ordered, 9)][: 1 + everything][0] == "lease_0001"
        assert len(tx.live_leases(ordered, 9)) == 1 + everything
        assert len(tx.live_leases(ordered, 1)) == 1
        assert tx.kills_unfinished() == [ordered]
        assert tx.has_subject(height, subject)
        assert everything or not tx.has_subject(height, "x:y")
        held = tx.standing("task_1", scope, "lease_0001")
        assert held is not None and held.kills == (ordered,)
        tx.save_kill(replace(ordered, released_at=some.now, released_by="x"))
        assert tx.kills_over(reach) == []
        assert tx.kills_in_force() == []
        assert tx.kills_unfinished() == []


@pytest.mark.parametrize(
    ("killed", "covered"),
    [
        ("orders-db:read", 4),
        ("orders-db:read{region=eu}", 2),
        ("orders-db:read{path=a.b/}", 1),
        ("orders-db:read{path=a.b/c,region=eu}", 1),
        ("orders-db:read{path=a/}", 0),
        ("orders-db:rea", 0),
        ("orders-d:read", 0),
    ],
)
def test_a_kill_of_a_scope_covers_all_that_is_no_wider(
    grounded: Store, some: Examples, killed: str, covered: int
) -> None:
    """Found in the store as it is decided in core, for leases and for what is asked."""
    written = ("", "{region=eu}", "{region=us}", "{path=a.b/c,region=eu}")
    ordered = some.kill(height=Height.SCOPE, subject=killed)
    scopes = [f"orders-db:read{parameters}" for parameters in written]
    with grounded.transaction() as tx:
        for number, scope in enumerate(scopes, start=1):
            tx.add_lease(some.lease(number, scope=scope))
        tx.add_kill(ordered)
        under = [stops(ordered, Reach(scope=scope)) for scope in scopes]
        assert [x.scope for x in tx.live_leases(ordered, 9)] == list(compress(scopes, under))
        for scope, stopped in zip(scopes, under, strict=True):
            standing = tx.standing("task_1", scope)
            assert standing is not None and bool(standing.kills) is stopped
        assert bool(tx.kills_unfinished()) == any(under)
    assert sum(under) == covered


def test_names_are_known_before_anything_was_issued_under_them(
    store: Store, some: Examples
) -> None:
    """An agent's owner, vendor and issuer can be killed before its first lease."""
    with store.transaction() as tx:
        known = (
            (Height.OWNER, "olivia@example.com"),
            (Height.VENDOR, "acme"),
            (Height.ISSUER, "cluster"),
            (Height.AGENT, "agent_1"),
            (Height.PERSON, "pat@example.com"),
            (Height.PERSON, "https://people pat ü"),
        )
        assert not any(tx.has_subject(*named) for named in known)
        tx.add_agent(some.agent(labels={"vendor": "acme"}))
        tx.add_binding(some.binding())
        tx.add_delegation(some.delegation())
        assert all(tx.has_subject(*named) for named in known)
        tx.add_task(some.task())
        assert tx.has_subject(Height.TASK, "task_1")


def test_the_newest_ends_come_first(grounded: Store, some: Examples) -> None:
    """So many as are wanted; nothing that has not ended."""
    with grounded.transaction() as tx:
        tx.add_lease(some.lease(1))
        for number in (2, 3, 4):
            tx.add_lease(some.lease(number).ended(Proof.VERIFIED, some.now + number * MINUTE))
        assert [x.id for x in tx.recent_ends(2)] == ["lease_0004", "lease_0003"]
        assert len(tx.recent_ends(9)) == 3


def test_a_silent_task_is_overdue(grounded: Store, some: Examples) -> None:
    """As one past its deadline is; one that beat in time is not."""
    beat = {"heartbeat": timedelta(seconds=10), "beat_fence": 3}
    with grounded.transaction() as tx:
        tx.add_task(some.task(2, silent_at=some.now - MINUTE, **beat))
        tx.add_task(some.task(3, silent_at=some.now + MINUTE, **beat))
        assert [task.id for task in tx.tasks_overdue(9)] == ["task_2"]
        silent = tx.task("task_2")
        assert silent is not None
        assert (silent.heartbeat, silent.beat_fence) == (timedelta(seconds=10), 3)


def test_a_kill_counts_what_had_not_ended_before_it_nor_begun_after_its_release(
    grounded: Store, some: Examples
) -> None:
    """Its progress is about the time that it was in force."""
    ordered = some.kill(released_at=some.now + MINUTE, released_by="x")
    with grounded.transaction() as tx:
        tx.add_lease(some.lease(1))
        tx.add_lease(some.lease(2).ended(Proof.VERIFIED, some.now - MINUTE))
        tx.add_lease(some.lease(3).ended(Proof.VERIFIED, some.now + MINUTE))
        tx.add_lease(some.lease(4, created_at=some.now + 2 * MINUTE))
        assert [x.id for x in tx.leases_under(ordered)] == ["lease_0001", "lease_0003"]
        assert tx.live_leases(ordered, 9) != []


def test_history_is_numbered_and_paged_by_number(store: Store) -> None:
    """Newest first, and each page goes on exactly where the last one ended."""
    for batch in range(4):
        with store.transaction() as tx:
            for step in range(5):
                tx.record(Fact(FactKind.KNOCKED, "x", body={"batch": batch, "step": step}))
    pages, before = [], None
    with store.transaction() as tx:
        while page := tx.history(HistoryQuery(before=before, limit=3)):
            pages.append(page)
            before = page[-1].number
    found = [(x.fact.body["batch"], x.fact.body["step"]) for page in pages for x in page]
    assert found == [(batch, step) for batch in range(4) for step in range(5)][::-1]
    assert [len(page) for page in pages] == [3] * 6 + [2]


def test_history_is_searched_by_every_field(store: Store) -> None:
    """Each field alone finds the fact, and a wrong value of it does not."""
    fields = {
        "agent_id": "agent_1",
        "owner": "o",
        "task_id": "task_1",
        "grant_id": "grant_1",
        "lease_id": "lease_1",
        "target": "orders-db",
        "outcome": "allow",
    }
    fact = Fact(FactKind.ASK_ALLOWED, "x", body={"a": [1]}, decision_id="d", **fields)
    began = store.now()
    with store.transaction() as tx:
        tx.record(fact)
        tx.record(Fact(FactKind.KNOCKED, "x"))
        found = tx.history(HistoryQuery(kind="AskAllowed"))
        assert [x.fact for x in found] == [fact]
        for name, value in fields.items():
            assert tx.history(HistoryQuery(**{name: value})) == found
            assert tx.history(HistoryQuery(**{name: "another"})) == []
        later = store.now() + MINUTE
        assert len(tx.history(HistoryQuery(since=began, until=later))) == 2
        assert tx.history(HistoryQuery(since=later)) == []
        assert tx.history(HistoryQuery(until=began - MINUTE)) == []


def test_a_key_is_used_once_in_a_slot(store: Store) -> None:
    """The second use is told; another slot or key is another thing."""
    until = store.now() + MINUTE
    assert store.first_use("jti", "a", until)
    assert not store.first_use("jti", "a", until)
    assert store.first_use("jti", "b", until)
    assert store.first_use("proof", "a", until)


def test_what_a_slot_remembers_is_told_until_its_time(store: Store) -> None:
    """Every key of this slot and of no other; what is past its time is not told."""
    until = store.now() + MINUTE
    assert store.used("signs") == frozenset()
    store.first_use("signs", "a", until)
    store.first_use("signs", "b", until)
    store.first_use("signs", "over", store.now() - MINUTE)
    store.first_use("elsewhere", "c", until)
    assert store.used("signs") == {"a", "b"}


def test_a_revoked_token_is_refused_and_nothing_is_used_up(store: Store) -> None:
    """In the same look as the use; revoking again says so, and what was undone never was."""
    until = store.now() + MINUTE
    with store.transaction() as tx:
        assert tx.revoke_token("token-1", until)
    with store.transaction() as tx:
        assert not tx.revoke_token("token-1", until)
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        tx.revoke_token("token-2", until)
        raise ZeroDivisionError
    assert [store.is_revoked(name) for name in ("token-1", "token-2")] == [True, False]
    assert not store.first_use("dpop", "a", until, "token-1")
    assert store.first_use("dpop", "a", until, "token-2")
    assert not store.first_use("dpop", "a", until, "token-2")


def test_a_key_is_pinned_to_whoever_came_first(store: Store) -> None:
    """Everybody learns the first thumbprint."""
    until = store.now() + MINUTE
    assert store.pin("token", "first", until) == "first"
    assert store.pin("token", "second", until) == "first"
    assert store.pin("other", "second", until) == "second"


def test_somebody_can_lead_a_duty(store: Store) -> None:
    """The duty is free again after the transaction."""
    for _ in range(2):
        with store.transaction() as tx:
            assert tx.try_lead("reconcile fake")


def test_what_has_not_ended_of_a_targets_probes_is_found(
    grounded: Store, some: Examples
) -> None:
    """Ended ones, those of callers and those of other targets are not."""
    nobody: dict[str, object] = {"grant_id": None, "task_id": None, "agent_id": None, "owner": ""}
    over: dict[str, object] = {"state": LeaseState.ENDED, "proof": Proof.VERIFIED, "due_at": None}
    with grounded.transaction() as tx:
        tx.add_lease(some.lease(1, cut_by="scope"))
        tx.add_lease(some.lease(2, cut_by="probe", **nobody))
        tx.add_lease(some.lease(3, cut_by="probe", target="other-db", **nobody))
        tx.add_lease(some.lease(4, cut_by="probe", ended_at=some.now, **over, **nobody))
        tx.add_lease(some.lease(5, cut_by="probe", state=LeaseState.STUCK, **nobody))
    with grounded.transaction() as tx:
        found = tx.unended_probes("orders-db")
    assert [lease.id for lease in found] == [some.lease(2).id, some.lease(5).id]
