"""Real servers behind proxies of ours, started again whenever they die."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from tests.faults.ground import Ground, until_true
from tests.faults.proxy import BaoProxy, PostgresProxy, between_bao, between_postgres
from tests.faults.served import Served, serving
from valetkey.devstack.folders import write_private

COUNT = 3


@dataclass
class Replicas:
    """Servers on one ground; `up` holds those that were ready and have not been seen dead."""

    ground: Ground
    bao: BaoProxy
    postgres: PostgresProxy
    environment: dict[str, str]
    up: dict[int, Served] = field(default_factory=dict)
    starts: int = 0
    failed_starts: int = 0
    complaint: str = ""
    done: threading.Event = field(default_factory=threading.Event)

    def any(self, chance: random.Random) -> Served | None:
        """One of those that are up."""
        servers = list(self.up.values())
        return chance.choice(servers) if servers else None

    def keep(self, number: int) -> None:
        """Serve, and begin again when the server has died, until all is done."""
        while not self.done.wait(0.2):
            try:
                with serving(self.ground, **self.environment) as served:
                    self.starts += 1
                    self.up[number] = served
                    while served.process.poll() is None and not self.done.wait(0.1):
                        pass
            except AssertionError as failed:  # it began while something that it needs was away
                self.failed_starts += 1
                self.complaint = str(failed)[-600:]
            finally:
                self.up.pop(number, None)

    def until_all_answer(self, within: float) -> None:
        """Wait until every one of them is ready."""

        def ready() -> bool:
            return sum(server.answers() for server in list(self.up.values())) == COUNT

        until_true(ready, within, lambda: f"{len(self.up)} of {COUNT} are up; {self.complaint}")


@contextmanager
def replicas(ground: Ground) -> Iterator[Replicas]:
    """Three servers, each with a proxy of ours before OpenBao and before Postgres."""
    with ExitStack() as resources:
        bao = resources.enter_context(between_bao(ground.stack.openbao.port))
        postgres = resources.enter_context(between_postgres(ground.stack.postgres.port))
        url = ground.folder / "through.url"
        direct = (ground.folder / "app.url").read_text()
        write_private(url, direct.replace(f":{ground.stack.postgres.port}/", f":{postgres.port}/"))
        environment = {
            "VALETKEY_OPENBAO__ADDRESS": bao.address,
            "VALETKEY_DATABASE__URL_FILE": str(url),
            "VALETKEY_TIMES__RECONCILE_EVERY": "PT10S",
        }
        made = Replicas(ground, bao, postgres, environment)
        keepers = [threading.Thread(target=made.keep, args=[at]) for at in range(COUNT)]
        for keeper in keepers:
            keeper.start()
        try:
            made.until_all_answer(240)
            yield made
        finally:
            made.done.set()
            for keeper in keepers:
                keeper.join(60)
