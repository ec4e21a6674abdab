"""A real credential that leaked: reported, it opens nothing any more, and is written nowhere."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from urllib.parse import quote

from tests.acceptance.test_canary import dump, found_in, logged
from tests.faults.ground import (
    Ground,
    ask_for,
    end_everything,
    get,
    operator,
    start,
    until_ended,
    until_true,
)
from tests.faults.served import serving
from tests.faults.shared import ground as ground
from valetkey.core.lease import Proof
from valetkey.devstack.folders import write_private
from valetkey.flows.report_leak import report_leak

TOKEN = "reports-api:export{report=daily}"


def test_a_leaked_login_is_refused_by_the_database_soon_after(ground: Ground) -> None:
    """Reported as a connection URL: nobody gets in, the end is proven, and its sibling lives."""
    with logged() as log, ground.house() as house:
        house.clockwork.start()
        bot = ground.bot(house)
        task = start(house, bot)
        leaked, other = get(house, bot, ask_for(task)), get(house, bot, ask_for(task))
        secret, kept = leaked.secret.reveal(), other.secret.reveal()
        ground.connect(secret).close()
        where = f"{secret['host']}:{secret['port']}/{secret['database']}"
        password = str(secret["password"])
        url = f"postgresql://{secret['username']}:{quote(password, safe='')}@{where}\n"
        assert report_leak(house.broker, bot, url) == []
        until_true(lambda: ground.refuses(secret), 5)
        assert until_ended(house, leaked.lease.id).proof is Proof.VERIFIED
        ground.connect(kept).close()
        end_everything(house)
        ground.at_peace(house)
    assert found_in({"log": log.getvalue(), **dump(ground)}, [password]) == []


def test_the_server_finds_what_was_minted_under_a_retired_key(ground: Ground) -> None:
    """A token of yesterday's key, reported to a process with a new one: lineage to an operator."""
    with ground.house() as house:
        bot = ground.bot(house)
        issued = get(house, bot, ask_for(start(house, bot), TOKEN))
        token = str(issued.secret.reveal()["token"])
    fresh = ground.folder / "fingerprint-2.key"
    write_private(fresh, secrets.token_hex(32))
    retired = json.dumps([str(ground.folder / "fingerprint.key")])
    new_keys = {
        "VALETKEY_FINGERPRINT_KEY_FILE": str(fresh),
        "VALETKEY_RETIRED_FINGERPRINT_KEY_FILES": retired,
    }
    with serving(ground, **new_keys) as served:
        bystander = served.visitor(replace(operator("by"), roles=frozenset()))
        opal = served.visitor(operator())
        for value in (token, "no token of ours"):
            told = bystander.call("POST", "/v1/leaks", {"value": value})
            assert told == (202, {"status": "reported"})
        status, answer = opal.call("POST", "/v1/leaks", {"value": token})
        log = served.log
    assert status == 202
    (found,) = answer["found"]
    assert (found["lease"]["id"], found["lease"]["reason"]) == (issued.lease.id, "leaked")
    assert found["agent"]["id"] == bot.agent_id
    with ground.house() as house:
        house.clockwork.start()
        end_everything(house)
        ground.at_peace(house)
    assert found_in({"log": log, "answer": json.dumps(answer), **dump(ground)}, [token]) == []
