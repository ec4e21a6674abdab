"""DPoP nonces over HTTP: the header, the status, the word; and no knock for who did not know."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack

from joserfc.jwk import ECKey

from tests.api.hall import US, Hall
from tests.api.test_oauth import form, now, pod
from valetkey.identity.nonces import Nonces
from valetkey.testing.issuer import dpop_proof


def test_a_client_without_a_nonce_is_told_and_then_let_in() -> None:
    """401 at `/v1`, 400 at `/oauth2`, as RFC 9449 sections 8 and 9 have it; nothing is counted."""
    with ExitStack() as stack:
        hall = Hall(stack, nonces=Nonces(lambda text: hashlib.sha256(text.encode()).hexdigest()))
        refused = hall.bot.call("GET", "/v1/tasks")
        assert (refused.status_code, refused.json()["code"]) == (401, "use_dpop_nonce")
        assert 'error="use_dpop_nonce"' in refused.headers["WWW-Authenticate"]
        nonce = refused.headers["DPoP-Nonce"]
        proof = hall.bot.proof("GET", "/v1/tasks", nonce=nonce)
        assert hall.bot.call("GET", "/v1/tasks", DPoP=proof).status_code == 200
        key = ECKey.generate_key("P-256")
        asked = hall.exchange(form(pod(hall)), key)
        assert (asked.status_code, asked.json()["error"]) == (400, "use_dpop_nonce")
        said = {"htm": "POST", "htu": f"{US}/oauth2/token", "nonce": asked.headers["DPoP-Nonce"]}
        again = dpop_proof(key, now(hall), said)
        answer = hall.client.post("/oauth2/token", data=form(pod(hall)), headers={"DPoP": again})
        assert answer.json()["code"] == "unknown_agent"
        assert [x.fact.outcome for x in hall.facts(kind="Knocked")] == ["unknown_agent"]
