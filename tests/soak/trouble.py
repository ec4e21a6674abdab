"""What goes wrong during a soak: each trouble begins, lasts a moment, and is over."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.faults.ground import operator
from tests.faults.standing import stopped
from tests.soak.replicas import Replicas
from valetkey.bootstrap import House
from valetkey.core.errors import BrokerError
from valetkey.core.kill import Height
from valetkey.core.principal import Caller
from valetkey.flows.kill import kill, release_kill


@dataclass
class Trouble:
    """Everything that may go wrong, chosen by chance; `told` counts what did."""

    replicas: Replicas
    house: House
    bots: list[Caller]
    chance: random.Random
    told: Counter[str] = field(default_factory=Counter)

    def make(self) -> None:
        """One trouble, from its beginning to its end."""
        kinds: tuple[Callable[[], None], ...] = (
            self.kill_a_replica,
            self.kill_a_replica,
            self.freeze_a_replica,
            self.kill_openbao,
            self.stop_openbao,
            self.seal_openbao,
            self.cut_openbao,
            self.swallow_answers_of_openbao,
            self.kill_postgres,
            self.stop_postgres,
            self.cut_postgres,
            self.lose_commits,
            self.terminate_connections,
            self.order_a_kill,
        )
        kind = self.chance.choice(kinds)
        self.told[kind.__name__] += 1
        kind()

    def kill_a_replica(self) -> None:
        """SIGKILL, wherever it is."""
        served = self.replicas.any(self.chance)
        if served is not None:
            served.process.send_signal(signal.SIGKILL)

    def freeze_a_replica(self) -> None:
        """SIGSTOP, longer than a claim lasts now and then."""
        served = self.replicas.any(self.chance)
        if served is not None:
            served.process.send_signal(signal.SIGSTOP)
            self._while(5)
            served.process.send_signal(signal.SIGCONT)

    def kill_openbao(self) -> None:
        """SIGKILL; the stack starts it again."""
        os.kill(self._pid("openbao"), signal.SIGKILL)
        self._while(2)

    def stop_openbao(self) -> None:
        """It stands still."""
        with stopped(self._pid("openbao")):
            self._while(5)

    def seal_openbao(self) -> None:
        """Sealed, and unsealed again."""
        bao = self.replicas.ground.stack.openbao
        with suppress(Exception):  # it may be away
            bao.as_root().call("PUT", "sys/seal", {})
        self._while(3)
        with suppress(Exception):
            bao.after_ready()

    def cut_openbao(self) -> None:
        """Every call to it is cut before its effect."""
        self.replicas.bao.rule(".", "cut")
        self._while(3)
        self.replicas.bao.clear()

    def swallow_answers_of_openbao(self) -> None:
        """Some calls take effect and are not answered, or answered by 500."""
        act = self.chance.choice(("swallow", "error"))
        self.replicas.bao.rule(".", act, times=self.chance.randrange(1, 8))
        self._while(2)
        self.replicas.bao.clear()

    def kill_postgres(self) -> None:
        """Our database and the target die together."""
        os.kill(self._pid("postgres"), signal.SIGKILL)
        self._while(2)

    def stop_postgres(self) -> None:
        """Every process of it stands still."""
        with stopped(self._pid("postgres")):
            self._while(4)

    def cut_postgres(self) -> None:
        """The replicas lose our database, and nothing else."""
        self.replicas.postgres.cut()
        self._while(3)
        self.replicas.postgres.mend()

    def lose_commits(self) -> None:
        """Some commits never arrive, or are not answered."""
        for _ in range(self.chance.randrange(1, 4)):
            what = self.chance.choice(("commit", "answer"))
            self.replicas.postgres.lose(what, self.chance.randrange(1, 20))

    def terminate_connections(self) -> None:
        """An administrator ends all our sessions."""
        query = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'valetkey'"
        )
        with suppress(Exception):  # Postgres may be away
            self.replicas.ground.look(query)

    def order_a_kill(self) -> None:
        """At some height, released after a moment by somebody else."""
        heights = {
            Height.AGENT: str(self.chance.choice(self.bots).agent_id),
            Height.TARGET: "orders-db",
            Height.OWNER: "olivia@example.com",
            Height.EVERYTHING: "",
        }
        height = self.chance.choice(list(heights))
        with suppress(BrokerError):
            kill(self.house.broker, operator("opal"), height, heights[height], "soak")
        self._while(2)
        self.release_kills()

    def release_kills(self) -> None:
        """Whatever is in force is lifted."""
        with suppress(BrokerError):
            with self.house.store.transaction() as tx:
                ordered = tx.kills_in_force()
            for one in ordered:
                fresh = operator("otto", fresh_for=f"release:{one.id}")
                release_kill(self.house.broker, fresh, one.id)

    def _while(self, seconds: float) -> None:
        threading.Event().wait(self.chance.random() * seconds)  # how long it lasts is chance

    def _pid(self, server: str) -> int:
        return self.replicas.ground.stack.supervisor.pids()[server]
