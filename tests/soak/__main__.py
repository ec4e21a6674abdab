"""The soak: hours of use and trouble in ten minutes, and then everything must have ended.

    python -m tests.soak

`VALETKEY_SOAK_SECONDS` (600) is how long there is trouble, `VALETKEY_SOAK_SEED` which. Three real
servers on real OpenBao and PostgreSQL with proxies between; exits 1 and tells the seed when
something is left, when the doctor finds anything, when a secret that a client ever received still
works, or when a server had a defect.
"""

from __future__ import annotations

import base64
import json
import os
import random
import secrets
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from tests.faults.ground import Ground, end_everything, until_true
from tests.faults.shared import a_ground_of_ones_own
from tests.soak.clients import Client, Heard
from tests.soak.replicas import Replicas, replicas
from tests.soak.trouble import Trouble
from valetkey.bootstrap import House
from valetkey.flows.introspect import introspect

AGENTS = 4


def main() -> int:
    """Run one soak; 0 when it ended well."""
    seconds = float(os.environ.get("VALETKEY_SOAK_SECONDS", "600"))
    seed = int(os.environ.get("VALETKEY_SOAK_SEED") or secrets.randbelow(2**31))
    say(f"soak for {seconds:.0f} s, seed {seed}")
    try:
        with a_ground_of_ones_own() as ground, replicas(ground) as fleet, ground.house() as house:
            soak(fleet, house, random.Random(seed), seconds)
    except AssertionError as failed:
        say(f"FAILED with seed {seed}: {failed}")
        return 1
    say(f"ended well, seed {seed}")
    return 0


def soak(fleet: Replicas, house: House, chance: random.Random, seconds: float) -> None:
    """Trouble for so long; then heal, end everything, and look. Raises AssertionError."""
    ground, heard, done = fleet.ground, Heard(), threading.Event()
    bots = [ground.bot(house) for _ in range(AGENTS)]
    clients = [
        Client(ground, fleet, bot, random.Random(chance.random()), heard) for bot in bots
    ]
    threads = [threading.Thread(target=client.work, args=[done]) for client in clients]
    for thread in threads:
        thread.start()
    trouble = Trouble(fleet, house, bots, random.Random(chance.random()))
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            threading.Event().wait(1 + 3 * chance.random())  # the moment is chance
            trouble.make()
    finally:
        done.set()
        for thread in threads:
            thread.join(90)
    say(f"trouble: {dict(trouble.told)}")
    say(f"answers: {dict(heard.codes.most_common())}")
    say(f"{fleet.starts} starts of replicas, {fleet.failed_starts} in vain")
    fleet.until_all_answer(120)
    assert_ended(ground, house, trouble)
    assert_nothing_works(ground, house, heard)
    assert "internal" not in heard.codes, defects(ground)
    assert "clockwork.defect" not in defects(ground), defects(ground)


def assert_ended(ground: Ground, house: House, trouble: Trouble) -> None:
    """Kills are released, tasks end, and everybody agrees that nothing is out."""
    until_true(lambda: house.problems() == [], 60, lambda: str(house.problems()))
    trouble.release_kills()
    end_everything(house)
    began = time.monotonic()
    ground.at_peace(house, within=120)
    proofs = ground.look("SELECT proof, count(*) FROM leases GROUP BY 1", database="valetkey")
    say(f"at peace after {time.monotonic() - began:.1f} s: {dict(proofs)}")


def assert_nothing_works(ground: Ground, house: House, heard: Heard) -> None:
    """Every secret that a client ever received is tried and refused."""
    works = [str(one.get("type")) for one in heard.secrets if not refused(ground, house, one)]
    say(f"{len(heard.secrets)} secrets tried, {len(works)} still work")
    assert heard.secrets and not works, works


def refused(ground: Ground, house: House, secret: Mapping[str, Any]) -> bool:
    """A login that fails, or a token that introspection calls inactive."""
    if "username" in secret:
        return ground.refuses(secret)
    payload = str(secret["token"]).split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return not introspect(house.broker, claims)["active"]


def defects(ground: Ground) -> str:
    """The lines of the servers' logs that tell of a defect of ours."""
    lines = [
        line
        for log in ground.folder.glob("serve-*.log")
        for line in log.read_text().splitlines()
        if "defect" in line or "Traceback" in line
    ]
    return "\n".join(lines[:20])


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
