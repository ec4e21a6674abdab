"""What the busiest requests ask of PostgreSQL, statement by statement, so that it cannot creep up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import uuid6
from joserfc.jwk import ECKey

from tests.api.hall import US, Hall
from tests.api.test_oauth import form
from tests.contract.traced import statements
from tests.contract.traced import told as told
from tests.contract.traced import traced as traced
from valetkey.core.admission import Rate
from valetkey.core.agent import Binding
from valetkey.core.ids import LeaseId, Mark, encode_id, short_digest
from valetkey.flows.admit import pace
from valetkey.flows.introspect import introspect
from valetkey.flows.tell_exchange import tell_exchange
from valetkey.store.sql_store import SqlStore


@pytest.fixture
def quiet_hall(traced: SqlStore) -> Iterator[Hall]:
    """A hall on the store that is listened to."""
    with ExitStack() as resources:
        yield Hall(resources, traced)


def asked(told: Path, act: Callable[[], object]) -> int:
    """How many statements an act takes; the clock was read just before."""
    before = statements(told)
    act()
    return statements(told) - before


def test_a_credential_is_given_in_fifteen_statements(quiet_hall: Hall, told: Path) -> None:
    """One for the proof; begin, five and commit, before the mint and after it.

    A rate and ceilings, which are not set here, are one more each.
    """
    task = quiet_hall.bot.start()["id"]
    quiet_hall.bot.ask(task)

    def ask() -> None:
        assert quiet_hall.bot.ask(task).status_code == 201

    assert asked(told, ask) == 15


def test_a_token_is_exchanged_in_four_statements(quiet_hall: Hall, told: Path) -> None:
    """The DPoP proof, the platform's proof, the bindings, the agent; none begins a transaction."""
    hall, store = quiet_hall, quiet_hall.stage.broker.store
    with store.transaction() as tx:
        bound = (("sub", "pod-one"),)
        tx.add_binding(
            Binding("binding_9", hall.stage.agent.id, "workloads", bound, "ci", store.now())
        )

    def exchange() -> None:
        pod = {"sub": "pod-one", "aud": US}
        proof = hall.issuers["workloads"].sign(store.now().timestamp(), pod)
        answer = hall.exchange(form(proof), ECKey.generate_key("P-256"))
        assert answer.status_code == 200, answer.text

    exchange()
    assert asked(told, exchange) == 4


def test_a_token_is_told_of_in_three_statements(quiet_hall: Hall, told: Path) -> None:
    """The rate, the place it was seen at, and the fact, which is a commit of its own."""
    stage = quiet_hall.stage
    paced = replace(stage.broker.limits, rate=Rate(10, 100))
    broker = replace(stage.broker, limits=paced)
    caller = replace(stage.bot, binding_id="binding_1")
    stage.broker.store.now()
    assert asked(told, lambda: tell_exchange(broker, caller, "cluster", ())) == 3
    assert asked(told, lambda: pace(broker, caller.principal)) == 1


def test_a_credential_is_looked_up_for_introspection_in_one_statement(quiet_hall: Hall, told: Path) -> None:
    """Besides the one that uses up the asker's own proof."""
    broker = quiet_hall.stage.broker
    lease = LeaseId(encode_id("lease", uuid6.uuid7().bytes))
    claims = {"jti": str(Mark.of(broker.installation, short_digest("scope"), lease)), "scope": "s"}
    broker.store.now()
    assert asked(told, lambda: introspect(broker, claims)) == 1
