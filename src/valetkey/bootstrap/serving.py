"""Serving: one process, one broker, one clockwork, behind uvicorn."""

from __future__ import annotations

import gc
import logging
import signal
import sys
from collections.abc import Callable, Sequence

import structlog
import uvicorn
from fastapi import FastAPI
from structlog.typing import EventDict

from valetkey.bootstrap.doors import authenticator_of, trust_rules
from valetkey.bootstrap.house import House, build_house
from valetkey.bootstrap.keys import TurningKeys
from valetkey.bootstrap.tls import asking
from valetkey.core.errors import StoreUnavailable
from valetkey.identity.authorities import TrustBundle
from valetkey.identity.minted_tokens import MintedTokens
from valetkey.ports import Minter, Trouble
from valetkey.settings import Settings
from valetkey.web.app import Hooks, create_app
from valetkey.web.doors import Doors
from valetkey.web.heads import BoundedHeads
from valetkey.web.metrics import Metrics, TimedMinter
from valetkey.web.operations import Watch
from valetkey.web.recent import Recent

log = structlog.get_logger()
_UNANSWERED = Trouble("back ends", "have not answered yet")


def open_house(
    settings: Settings, metrics: Metrics | None = None, keys: TurningKeys | None = None
) -> House:
    """A broker for one process, not ticking yet; the caller closes it.

    Without `keys` they are read from their files.

    Raises WrongDatabaseRole, FilesInvalid, ValueError, or a BrokerError when a back end that is
    needed at the start cannot be asked.
    """
    log_to_stderr()
    keys = keys or TurningKeys.opened(settings)
    tokens = MintedTokens(settings.external_url, keys.ring)

    def watch(minter: Minter) -> Minter:
        return minter if metrics is None else TimedMinter(minter, metrics)

    return build_house(settings, tokens.sign, watch, keys)


def application(settings: Settings) -> tuple[FastAPI, House, Sequence[TrustBundle]]:
    """The web application over a broker, which starts to tick when served.

    With it the bundles of those trust domains whose workloads may show certificates.
    """
    metrics, keys = Metrics(), TurningKeys.opened(settings)
    house = open_house(settings, metrics, keys)
    people = next((issuer for issuer in settings.issuers if issuer.kind == "people"), None)
    doors = Doors(
        external_url=settings.external_url,
        trust_rules=trust_rules(settings),
        login_issuer=people.issuer if people else "",
        login_client_id=settings.login_client_id if people else "",
        threads=settings.server.threads,
        slow_calls=max(1, settings.server.threads * 3 // 4),
    )
    authenticator = authenticator_of(house, keys.ring, metrics.seen_twice.inc)
    health = Recent(_logged(house.troubles), lambda: [_UNANSWERED])
    counts = Recent(house.store.counts, _not_counted)
    bundles = authenticator.trust_bundles()

    def well() -> dict[str, bool]:
        return {issuer: bundle.problem() is None for issuer, bundle in bundles.items()}

    here = (house.lanes, house.clockwork, keys.ring, well, house.rules)
    watch = Watch(health, counts, metrics, *here)
    hooks = Hooks(begin=house.clockwork.start, end=house.close)
    app = create_app(house.broker, authenticator, doors, watch, hooks)
    return app, house, tuple(bundles.values())


def _logged(look: Callable[[], list[Trouble]]) -> Callable[[], list[Trouble]]:
    """The same look; what it finds is logged when it changes, for strangers are not told."""
    last: list[list[str]] = [[]]

    def looked() -> list[Trouble]:
        found = look()
        told = [str(trouble) for trouble in found]
        if told != last[0]:
            log.warning("replica.unready" if told else "replica.ready", reasons=told)
        last[0] = told
        return found

    return looked


def _not_counted() -> dict[str, float]:
    """Somebody still counts, and has for long: the database does not answer."""
    raise StoreUnavailable()


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; running calls are let finish up to the mint limit.

    SIGHUP has catalogue and policies read again at once.
    """
    app, house, bundles = application(settings)
    signal.signal(signal.SIGHUP, lambda *_: house.clockwork.read_again())
    server, times = settings.server, settings.times
    gc.collect()
    gc.freeze()  # what is here now stays; the collector need not walk it for every request
    gc.set_threshold(20_000, 20, 100)
    uvicorn.run(
        app,
        host=server.host,
        port=server.port,
        loop="uvloop",
        http=BoundedHeads,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(times.mint_limit.total_seconds()) + 5,
        ssl_certfile=server.tls_certificate_file,
        ssl_keyfile=server.tls_key_file,
        ssl_context_factory=asking(bundles),
    )


def log_to_stderr() -> None:
    """One JSON line for each event; keys that look like secrets are masked, whatever is said."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            mask,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    plain = "%(levelname)s %(name)s %(message)s"
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a tick left out is the next one's
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # we say which target is away
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format=plain)
    # It warns of each broken request, of which a stranger may send as many as the disk holds.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def mask(logger: object, method: str, event: EventDict) -> EventDict:
    """Replace the value of every key that names a secret."""
    words = ("secret", "password", "token", "credential", "authorization", "proof_jwt")
    return {
        key: "***" if any(word in key.lower() for word in words) else value
        for key, value in event.items()
    }
