"""Issuing processes that are killed in the middle: `python -m bench.growth.victims KIND WHERE`.

Each is forked from this one, which has imported everything and has no threads; eight of its
threads issue without a pause until SIGKILL, at a moment chosen by a seed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import uuid6

from bench.ground import FOUR, SCOPES
from bench.growth.filling import TTL, caller
from bench.growth.naive import Naive
from valetkey.bootstrap import load_settings, open_house
from valetkey.core.ask import Ask
from valetkey.core.scope import Scope
from valetkey.flows.request_credential import request_credential
from valetkey.flows.start_task import Plan, start_task

CLIENTS = 8
Issue = Callable[[], object]


def broker(where: Mapping[str, str]) -> Sequence[Issue]:
    """Our own, in this process, without HTTP between."""
    opened = open_house(load_settings(Path(where["config"])))
    bot, _ = caller(opened)
    scope = Scope.parse(SCOPES[FOUR])
    bare = (Scope.parse(SCOPES[FOUR].partition("{")[0]),)
    task = start_task(opened.broker, bot, Plan("to die", bare, timedelta(hours=1)))

    def issue() -> object:
        ask = Ask(task.id, scope, TTL, "because", uuid6.uuid7().hex)
        return request_credential(opened.broker, bot, ask)

    return [issue] * CLIENTS


def naive(where: Mapping[str, str]) -> Sequence[Issue]:
    """Mint, then record."""
    return [Naive(where, number).issue for number in range(CLIENTS)]


def die(begin: Callable[[], Sequence[Issue]], ready: int) -> NoReturn:
    """Issue until killed; a byte goes to `ready` once all are about to."""
    issues = begin()

    def loop(issue: Issue) -> None:
        while True:
            issue()

    for issue in issues:
        threading.Thread(target=loop, args=[issue], daemon=True).start()
    os.write(ready, b"!")
    while True:
        time.sleep(60)


def main() -> None:
    """Begin and kill them, one after the other."""
    kind, where = sys.argv[1], json.loads(sys.argv[2])
    chance = random.Random(int(where["seed"]))
    begin = {"broker": broker, "naive": naive}[kind]
    for _ in range(int(where["kills"])):
        told, ready = os.pipe()
        child = os.fork()
        if child == 0:
            die(lambda: begin(where), ready)
        os.close(ready)
        begun = os.read(told, 1)
        os.close(told)
        time.sleep(chance.uniform(0.02, 0.35))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not begun or not os.WIFSIGNALED(status):
            sys.exit("one ended by itself before it was killed")


if __name__ == "__main__":
    main()
