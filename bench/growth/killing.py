"""A kill of many live database leases, each proven gone, against OpenBao's revoke-prefix."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from bench.ending import Ended, revoke_prefixes
from bench.ground import FOUR, Ground
from bench.growth.filling import Eyes, caller, house, mint, mint_directly
from bench.report import Found, told
from bench.served import Served, Server, where
from valetkey.bootstrap import House
from valetkey.core.kill import Height
from valetkey.core.principal import Caller, Principal
from valetkey.flows.kill import kill

RELEASE = "UPDATE kills SET released_at = clock_timestamp(), released_by = 'bench'"


@dataclass
class Asking:
    """An agent that asks for one credential after the other; when each was given or refused."""

    side: Served
    given: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask until stopped."""
        client = self.side.client()
        while not self.stopped.is_set():
            try:
                client.mint()
            except RuntimeError:
                self.refused.append(time.perf_counter())
            else:
                self.given.append(time.perf_counter())


def killing(ground: Ground, count: int, rounds: int) -> list[Found]:
    """Both sides in turn; the agent that is killed goes on asking meanwhile."""
    told("", f"A kill of {count} live database leases, four lanes, an agent asking all the time:")
    ratios, refusals, late = [], [], 0
    for _ in range(rounds):
        ours, refused, after = _killed(ground, count)
        mint_directly(ground, count)
        plain = revoke_prefixes(ground, count)
        told(ours.line("broker's kill, each proven gone"))
        told(f"  {'':34} first refusal {1000 * refused:.0f} ms after the kill's commit")
        told(plain.line("OpenBao revoke-prefix, unchecked"))
        ratios.append(plain.seconds / ours.seconds)
        refusals.append(refused)
        late += after
    return [
        Found(f"kill of {count}: speed / unchecked revoke-prefix", "(none set)", ratios),
        Found("kill: first refusal of the killed agent, in s", "<= 1", refusals),
        Found("kill: credentials given after its commit", "0", text=str(late)),
    ]


def _killed(ground: Ground, count: int) -> tuple[Ended, float, int]:
    """How long it took, when the first refusal came, and what was given after the commit."""
    eyes = Eyes(ground)
    with house(ground) as opened, Server(ground, "four"):
        mint(opened, count)
        asking = Asking(Served(where(ground), FOUR))
        thread = threading.Thread(target=asking.run)
        thread.start()
        while not asking.given:
            time.sleep(0.05)
        began = time.perf_counter()
        committed = _order(opened)
        left = asking.side.settle(600)
        took = time.perf_counter() - began
        asking.stopped.set()
        thread.join()
    eyes.do(RELEASE)
    refused = min(asking.refused, default=float("inf")) - committed
    after = sum(at > committed + 0.05 for at in asking.given)
    return Ended(count - left, took, eyes.roles("vk-%")), refused, after


def _order(opened: House) -> float:
    """Kill the bench's agent; when the barrier was committed."""
    at: list[float] = []

    def passed(step: str) -> None:
        if step == "kill.ordered":
            at.append(time.perf_counter())

    broker = replace(opened.broker, failpoint=passed)
    kill(broker, _operator(), Height.AGENT, caller(opened)[1].id, "the bench")
    return at[0]


def _operator() -> Caller:
    return Caller(
        kind="person",
        principal=Principal("https://people", "opal"),
        jkt="key of the operator",
        expires_at=datetime.now(UTC) + timedelta(hours=1),
        token_id="bench",
        email="opal@example.com",
        roles=frozenset({"operator"}),
        auth_time=datetime.now(UTC),
    )
