"""Our key set over HTTP through a rotation, read by a library's own client for key sets."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import jwt as pyjwt
from joserfc.jwk import ECKey

from tests.api.hall import US, Hall
from tests.api.served import Served
from valetkey.identity.key_ring import KeyFiles, KeyRing, file_name
from valetkey.testing.brokers import EPOCH

HOUR = timedelta(hours=1)


def test_an_unmodified_client_follows_a_rotation(tmp_path: Path) -> None:
    """PyJWKClient asks once, before the turn, and has the keys of both tokens: it need not ask
    again, which it would not do within 30 s of the last time.
    """

    def put(hours: int) -> None:
        pem = ECKey.generate_key("P-256").as_pem(private=True)
        (tmp_path / file_name(EPOCH + hours * HOUR)).write_bytes(pem)

    put(0)
    put(1)
    ring = KeyRing(KeyFiles(None, tmp_path, (), 8 * HOUR), EPOCH)
    with ExitStack() as stack:
        hall = Hall(stack, keys=ring)
        served = Served(hall)
        stack.callback(served.close)
        client = pyjwt.PyJWKClient(f"http://127.0.0.1:{served.port}/oauth2/jwks", cache_keys=True)

        def verified(token: str) -> str:
            key = client.get_signing_key_from_jwt(token)
            time = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
            said = pyjwt.decode(token, key, ["ES256"], audience=US, options={**time})
            return str(said["iss"])

        before = hall.visitor(hall.stage.bot)
        assert verified(before.token) == US
        assert ring.turn(EPOCH + HOUR) is None
        after = hall.visitor(hall.stage.bot)
        kids = [pyjwt.get_unverified_header(who.token)["kid"] for who in (before, after)]
        assert kids[0] != kids[1] == ring.kid
        assert [verified(who.token) for who in (before, after)] == [US, US]
        assert [who.call("GET", "/v1/tasks").status_code for who in (before, after)] == [200, 200]
        published = hall.client.get("/oauth2/jwks").json()["keys"]
        assert [key["kid"] for key in published] == kids[::-1]
        assert ring.turn(EPOCH + HOUR + 8 * HOUR) is None
        assert before.call("GET", "/v1/tasks").json()["code"] == "unauthenticated"
