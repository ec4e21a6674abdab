"""`/healthz`, `/readyz`, `/metrics`: for probes and scrapers, open to whoever can reach them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from valetkey.core.errors import NotReady
from valetkey.ports import Trouble
from valetkey.web.api.answers import Alive, Problem, Ready
from valetkey.web.desk import At
from valetkey.web.metrics import Counts, Metrics, Probes, RulesHere, Signing, Traffic
from valetkey.web.problems import problem

router = APIRouter(tags=["operations"])

Health = Callable[[], Sequence[Trouble]]
"""Why this replica cannot issue now; empty when it can."""


@dataclass(frozen=True)
class Watch:
    """What operations look at: readiness, leases and calls in numbers, and the metric objects.

    `bundles` says by issuers' names whether their X.509 bundles are had, where they have some.
    """

    health: Health
    counts: Counts
    metrics: Metrics = field(default_factory=Metrics)
    traffic: Traffic | None = None
    probes: Probes | None = None
    signing: Signing | None = None
    bundles: Callable[[], Mapping[str, bool]] = dict
    rules: RulesHere | None = None


@router.get("/healthz", responses={200: {"model": Alive}})
async def healthz() -> JSONResponse:
    """The process lives; it says nothing about what stands behind it."""
    return JSONResponse({"status": "alive"})


@router.get("/readyz", responses={200: {"model": Ready}, 503: {"model": Problem}})
def readyz(sent: Request) -> JSONResponse:
    """Whether this replica can issue: database, back ends, clock; 503 with the parts that cannot.

    Strangers may ask, so it names neither targets nor what is wrong: that is in the log.
    """
    watch: Watch = sent.app.state.watch
    parts = sorted({trouble.part for trouble in watch.health()})
    if not parts:
        return JSONResponse({"status": "ready"})
    return problem(NotReady(retry_after=5), more={"reasons": parts})


@router.get("/metrics", responses={200: {"content": {"text/plain": {}}}})
def metrics(sent: Request, desk: At) -> Response:
    """Everything measured, in the Prometheus text format."""
    watch: Watch = sent.app.state.watch
    if watch.traffic is not None:
        desk.metrics.note(watch.traffic)
    if watch.probes is not None:
        desk.metrics.note_probes(watch.probes)
    desk.metrics.note_bundles(watch.bundles())
    if watch.signing is not None:
        desk.metrics.note_signing(watch.signing)
    if watch.rules is not None:
        desk.metrics.note_rules(watch.rules)
    text = desk.metrics.text(watch.counts)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})
