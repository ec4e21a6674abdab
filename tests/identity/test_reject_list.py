"""The reject list of JWTs (RFC 8725, 7515, 7519, 9068) and of DPoP proofs, at every slot.

Each rule of `reject_rules.py` is a case of its own, named by its number in the list and the slot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.identity.place import TOKEN_URL, US, Place
from tests.identity.reject_rules import RULES, Rule
from tests.identity.reject_slots import (
    ALL,
    CALL_URL,
    DPOP,
    ISSUED,
    Open,
    access_token,
    proof_of_call,
)
from valetkey.core.errors import BrokerError, InvalidDpopProof, catalogue

CASES = [
    pytest.param(rule, slot, id=f"{rule.id}-{slot.__name__}")
    for rule in RULES
    for slot in rule.slots
]
OURS = {"internal", "not_ready", "store_unavailable"}
REFUSALS = {error.code for error in catalogue()} - OURS


@pytest.fixture(scope="module")
def town() -> Iterator[Place]:
    """One place for all cases: what is refused leaves nothing behind."""
    with ExitStack() as stack:
        yield Place.opened(stack)


@pytest.mark.parametrize(("rule", "open_slot"), CASES)
def test_a_token_is_refused_by_the_rule(town: Place, rule: Rule, open_slot: Open) -> None:
    """Each rule alone is enough; nothing is used up, no token is given, nothing is told of."""
    slot = open_slot(town)
    wrong = rule.make(slot)
    used, told = len(town.uses.kept_until()), len(town.told)
    with pytest.raises(BrokerError) as refused:
        slot.show(wrong)
    assert refused.value.code in REFUSALS
    assert (len(town.uses.kept_until()), len(town.told)) == (used, told)
    assert "evil" not in str(refused.value)


@pytest.mark.parametrize("open_slot", ALL, ids=lambda slot: slot.__name__)
def test_the_same_token_without_a_fault_is_taken(town: Place, open_slot: Open) -> None:
    """So that a case above is refused for its fault alone; once, where it is used up."""
    slot = open_slot(town)
    good = slot.signed()
    assert slot.show(good)


ONCE = [slot for slot in ALL if slot.__name__ not in ("access_token", "id_token")]


@pytest.mark.parametrize("open_slot", ONCE, ids=lambda slot: f"3.6-11-{slot.__name__}")
def test_a_token_is_taken_once(town: Place, open_slot: Open) -> None:
    """By its `jti`, for all replicas together, with other bytes around it too."""
    slot = open_slot(town)
    assert slot.show(slot.signed())
    for again in (slot.signed(), slot.signed(said={"x": 1})):
        with pytest.raises(BrokerError) as refused:
            slot.show(again)
        assert refused.value.code == "proof_replayed"


@pytest.mark.parametrize("open_slot", ISSUED, ids=lambda slot: f"3.6-04-{slot.__name__}")
def test_an_unknown_issuer_costs_no_fetch(town: Place, open_slot: Open) -> None:
    """Nothing is asked of anybody before `iss` is one that is registered."""
    slot = open_slot(town)
    issuers = (town.workloads, town.github, town.people)
    before = [issuer.hits for issuer in issuers]
    with pytest.raises(BrokerError) as refused:
        slot.show(slot.signed(said={"iss": f"{slot.said['iss']}/"}))
    assert refused.value.code == "untrusted_issuer"
    assert [issuer.hits for issuer in issuers] == before


@pytest.mark.parametrize("first", ALL, ids=lambda slot: f"3.6-06-{slot.__name__}")
def test_a_token_of_one_slot_is_good_for_no_other(town: Place, first: Open) -> None:
    """Cross-use: each is a good JWT where it belongs, and nothing elsewhere."""
    good = first(town).signed()
    family = ISSUED if first in ISSUED else DPOP if first in DPOP else (first,)
    for other in (slot for slot in ALL if slot not in family):
        with pytest.raises(BrokerError) as refused:
            other(town).show(good)
        assert refused.value.code in REFUSALS


@pytest.mark.parametrize("count", [0, 2, 3], ids=lambda count: f"3.7-01-{count}-headers")
def test_exactly_one_dpop_header_is_sent(town: Place, count: int) -> None:
    """At the token endpoint and at `/v1`; none and several are refused alike."""
    proofs = [town.dpop("POST", TOKEN_URL) for _ in range(count)]
    with pytest.raises(InvalidDpopProof):
        town.replica().exchange(town.form(town.bot()), proofs, TOKEN_URL)
    token = town.token()
    proofs = [town.dpop("GET", CALL_URL, {"token": token}) for _ in range(count)]
    with pytest.raises(InvalidDpopProof):
        town.replica().authenticate([f"DPoP {token}"], proofs, "GET", CALL_URL)


def test_the_address_of_a_proof_is_the_configured_one(town: Place) -> None:
    """3.7-09: what a proxy or a client says of our name is not looked at."""
    slot = proof_of_call(town)
    with pytest.raises(InvalidDpopProof):
        slot.show(slot.signed(said={"htu": "http://127.0.0.1:8210/v1/tasks"}))
    assert slot.show(slot.signed(said={"htu": f"{US}:443/v1/./tasks?x=1#y"}))


@pytest.mark.parametrize("scheme", ["Bearer", "Basic", "", "DPoP,"])
def test_a_bound_token_goes_under_the_dpop_scheme(town: Place, scheme: str) -> None:
    """A token that is bound to a key is no bearer token (RFC 9449 section 7.2)."""
    token = access_token(town).signed()
    proof = town.dpop("GET", CALL_URL, {"token": token})
    with pytest.raises(BrokerError) as refused:
        town.replica().authenticate([f"{scheme} {token}"], [proof], "GET", CALL_URL)
    assert refused.value.code == "unauthenticated"
