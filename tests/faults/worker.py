"""A broker process of its own, to be killed: does one act and prints what a client would see.

    python -m tests.faults.worker CONFIG AGENT ACT

ACT is `issue`, `end`, `kill`, `renew`, `churn`, `probe` or `probe-second`. One JSON line for each thing a client receives:
{"task"}, {"lease", "secret"}, {"ended"}, {"error"}. After handing out a credential, `end`,
`kill` and `renew` wait for a line on standard input, so that the one who reads us can open a
session first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

from tests.faults.ground import ask_for, caller_of, get, operator, signer, start
from valetkey.bootstrap import House, build_house, load_settings
from valetkey.core.errors import BrokerError
from valetkey.core.kill import Height
from valetkey.core.principal import Caller
from valetkey.core.task import Task
from valetkey.flows.end_task import end_task
from valetkey.flows.kill import kill, kill_now
from valetkey.flows.probe import probe
from valetkey.flows.renew import renew


def tell(**line: object) -> None:
    """Print one line at once, so that nothing a client got is lost with us."""
    print(json.dumps(line), flush=True)


def receive(house: House, bot: Caller, task: Task, key: str | None = None) -> None:
    """Ask for a credential and tell what came."""
    issued = get(house, bot, ask_for(task, key=key))
    tell(lease=issued.lease.id, secret=issued.secret.reveal())


def issue(house: House, bot: Caller) -> None:
    """One task, one credential, asked for under the key `once`."""
    task = start(house, bot)
    tell(task=task.id)
    receive(house, bot, task, "once")


def end(house: House, bot: Caller) -> None:
    """One credential, then the task ends."""
    task = start(house, bot)
    tell(task=task.id)
    receive(house, bot, task)
    sys.stdin.readline()
    tell(ended=end_task(house.broker, bot, task.id).complete)


def killed(house: House, bot: Caller) -> None:
    """One credential, then an operator kills the task."""
    task = start(house, bot)
    tell(task=task.id)
    receive(house, bot, task)
    sys.stdin.readline()
    ordered = kill(house.broker, operator(), Height.TASK, task.id, "test")
    kill_now(house.broker, ordered)
    tell(ended=True)


def renewed(house: House, bot: Caller) -> None:
    """One credential that may be renewed, and a renewal."""
    task = start(house, bot)
    tell(task=task.id)
    ask = ask_for(task, renewable_for=timedelta(minutes=10))
    issued = get(house, bot, ask)
    tell(lease=issued.lease.id, secret=issued.secret.reveal())
    sys.stdin.readline()
    tell(renewals=renew(house.broker, bot, issued.lease.id).renewals)


def churn(house: House, bot: Caller) -> NoReturn:
    """Tasks with two credentials each, begun and ended until we are killed."""
    while True:
        task = start(house, bot)
        tell(task=task.id)
        receive(house, bot, task)
        receive(house, bot, task)
        tell(ended=end_task(house.broker, bot, task.id).complete)


def probed(house: House, target: str) -> None:
    """The broker's own probe of a target."""
    tell(probed=probe(house.broker, target) is not None)


ACTS: dict[str, Callable[[House, Caller], None]] = {
    "issue": issue,
    "end": end,
    "kill": killed,
    "renew": renewed,
    "churn": churn,
    "probe": lambda house, _: probed(house, "orders-db"),
    "probe-second": lambda house, _: probed(house, "second-db"),
}


def main(config: Path, agent_id: str, act: str) -> None:
    """Build a broker and do the act. Exits 0 when it was done."""
    settings = load_settings(config)
    house = build_house(settings, signer(settings.signing_key_file))
    with house.store.transaction() as tx:
        agent = tx.agent(agent_id)
    assert agent is not None
    try:
        ACTS[act](house, caller_of(agent))
    except BrokerError as error:
        tell(error=error.code)
    house.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
