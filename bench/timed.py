"""A broker process that says where the time of each request went: `python -m bench.timed CONFIG`.

It serves like `valetkey serve`, with a stopwatch around the parts of issuing; nothing of the
product is changed but that its parts are wrapped here. Totals go to `CONFIG.times` each second.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from valetkey.bootstrap import load_settings, serving
from valetkey.flows import issue as issuing
from valetkey.identity.authenticator import Authenticator
from valetkey.minters.bao import Bao
from valetkey.store.sql_store import SqlStore
from valetkey.web.frame import Frame

PARTS = ("auth", "commit 1", "role write", "creds read", "commit 2", "inside")

_kept: dict[str, list[float]] = defaultdict(list)
_now = threading.local()


def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same call, its time kept in ms while a credential is being issued."""

    def run(*given: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*given, **named)
        finally:
            _kept[name].append((time.perf_counter() - began) * 1000)

    return run


def wrap() -> None:
    """Put stopwatches around authentication, both transactions and both calls to OpenBao."""
    serve_one, transaction, call = Frame.__call__, SqlStore.transaction, Bao.call
    authenticate, issue = Authenticator.authenticate, issuing.issue

    async def inside(self: Frame, scope: Any, receive: Any, send: Any) -> None:
        began = time.perf_counter()
        await serve_one(self, scope, receive, send)
        if scope.get("path") == "/v1/credentials":
            _kept["inside"].append((time.perf_counter() - began) * 1000)

    def authenticated(self: Authenticator, given: Any, dpop: Any, method: str, url: str) -> Any:
        name = "auth" if url.endswith("/v1/credentials") else "other auth"
        return timed(name, authenticate)(self, given, dpop, method, url)

    def issued(*given: Any, **named: Any) -> Any:
        _now.commits = 0
        try:
            return issue(*given, **named)
        finally:
            _now.commits = None

    @contextmanager
    def transacted(self: SqlStore) -> Iterator[Any]:
        commits = getattr(_now, "commits", None)
        began = time.perf_counter()
        with transaction(self) as tx:
            yield tx
        if commits is not None:
            _now.commits = commits + 1
            _kept[f"commit {commits + 1}"].append((time.perf_counter() - began) * 1000)

    def called(self: Bao, login: Any, method: str, path: str, body: Any = None) -> Any:
        names = {("POST", "roles"): "role write", ("GET", "creds"): "creds read"}
        name = names.get((method, path.split("/")[1]), "other call")
        return timed(name, call)(self, login, method, path, body)

    Frame.__call__ = inside  # type: ignore[method-assign]
    Authenticator.authenticate = authenticated  # type: ignore[assignment, method-assign]
    SqlStore.transaction = transacted  # type: ignore[method-assign]
    Bao.call = called  # type: ignore[method-assign]
    for module in list(sys.modules.values()):
        if getattr(module, "issue", None) is issue:
            module.issue = issued  # type: ignore[attr-defined]


def tell(file: Path) -> None:
    """Write what was kept so far, each second, for ever."""
    while True:
        time.sleep(0.5)
        fresh = file.with_suffix(".fresh")
        fresh.write_text(json.dumps({name: list(kept) for name, kept in list(_kept.items())}))
        fresh.replace(file)


def main() -> None:
    """Serve until SIGTERM."""
    config = Path(sys.argv[1])
    wrap()
    threading.Thread(target=tell, args=[config.with_suffix(".times")], daemon=True).start()
    serving.serve(load_settings(config))


if __name__ == "__main__":
    main()
