"""One side's clients as a process of their own: `python -m bench.worker SIDE WHAT WHERE`.

`WHERE` is JSON. Each line read, `{"clients": 8, "seconds": 3}`, is one round; its result goes out
as a line of JSON, so that starting up is never part of what is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Self

from bench.direct import DirectDatabase, DirectToken
from bench.load import Round, Side, run
from bench.served import Served


def side_of(name: str, what: str, where: Mapping[str, str]) -> Side:
    """`direct` with a number of lanes or `token`; `served` with a target."""
    if name == "served":
        return Served(where, what)
    return DirectToken(where) if what == "token" else DirectDatabase(where, int(what))


class Worker:
    """A context: the process, asked for rounds; `program` serves them."""

    def __init__(
        self, name: str, what: str, where: Mapping[str, str], program: str = "bench.worker"
    ) -> None:
        self._command = [sys.executable, "-m", program, name, what, json.dumps(where)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # its ends of the pipes are closed, and it is waited for
            pass

    def round(self, clients: int, seconds: float, **more: object) -> Round:
        """Run one round there; raises RuntimeError when the worker died."""
        return Round(**self.asked(clients=clients, seconds=seconds, **more))

    def asked(self, **wanted: object) -> dict[str, Any]:
        """Say one thing there and wait for its answer; raises RuntimeError when it died."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the clients' process died")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main() -> None:
    """Serve rounds until the input ends."""
    name, what, where = sys.argv[1:]
    side = side_of(name, what, json.loads(where))
    for line in sys.stdin:
        wanted: dict[str, Any] = json.loads(line)
        print(json.dumps(run(side, **wanted).plain()), flush=True)


if __name__ == "__main__":
    main()
