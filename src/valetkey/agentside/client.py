"""The SDK: ask a Valetkey for what a task needs, and be rid of it when the task ends.

    broker = Valetkey("https://valetkey.example.com", DpopKey.kept(path), from_file(token_file))
    with broker.task("refund order 4011", ["orders-db:read{region=eu}"], ttl=600) as task:
        got = broker.request(Ask(task["id"], "orders-db:read{region=eu}", ttl=300))

Every method raises Refusal (with `code` and `next_action`), Unreachable or NoIdentity.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

from valetkey.agentside.dpop import DpopKey
from valetkey.agentside.identity import ProofSource
from valetkey.agentside.pulse import Pulse
from valetkey.agentside.sealing import CannotBeOpened, SealingKey
from valetkey.agentside.session import Session
from valetkey.agentside.wire import Answer, Refusal, Unreachable

Json = dict[str, Any]
ACK_AGAIN = (0.2, 1.0)
"""Seconds after which an acknowledgement that did not get through is sent again."""


@dataclass(frozen=True)
class Granted:
    """A credential is ours: the lease on it, and the credential itself, which prints nothing."""

    lease: Json
    credential: Json = field(repr=False)


@dataclass(frozen=True)
class Waiting:
    """Nothing was minted yet: people decide on this grant first."""

    grant: Json


@dataclass(frozen=True)
class Ask:
    """One ask: the task it is for, the scope as text, the time in seconds, a reason for people.

    `renewable_for` is for how many seconds in all renewals may keep the credential alive.
    """

    task: str
    scope: str
    ttl: int
    reason: str | None = None
    renewable_for: int | None = None

    def body(self) -> Json:
        """The ask as the body of a request."""
        body: Json = {"task": self.task, "scope": self.scope, "ttl": self.ttl}
        more = {"reason": self.reason, "renewable_for": self.renewable_for}
        return body | {name: value for name, value in more.items() if value is not None}


class Valetkey:
    """One caller's connection to one broker."""

    def __init__(
        self,
        base_url: str,
        key: DpopKey,
        source: ProofSource,
        *,
        keep_in: Path | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self.session = Session(base_url, key, source, keep_in, ca_file)

    # --- tasks ------------------------------------------------------------------------------

    def start_task(
        self, purpose: str, scopes: Sequence[str], ttl: int, **more: str | int | None
    ) -> Json:
        """Start a task that may need `scopes`, for at most `ttl` seconds; the task.

        With a `heartbeat` it ends unless `heartbeat` is called so often (seconds). Under a
        `parent` (a task's id) it is a child task, which may be opened for another `agent` (its
        name). `max_credentials` is how many it and all under it may be given, `on_behalf_of` the
        id of a delegation of the person it acts for.
        """
        body: Json = {"purpose": purpose, "scopes": list(scopes), "ttl": ttl}
        body |= {name: value for name, value in more.items() if value is not None}
        return self.call("POST", "/v1/tasks", json=body).body

    def take_task(self, task_id: str) -> Json:
        """Take a task that another agent opened for this one: bind it to our key; the task."""
        return self.call("POST", f"/v1/tasks/{quote(task_id)}/take").body

    def task_tree(self, task_id: str) -> Json:
        """A task with all that was opened under it, and every credential of theirs."""
        return self.call("GET", f"/v1/tasks/{quote(task_id)}/tree").body

    def heartbeat(self, task_id: str, fence: int) -> Json:
        """Say that a task lives; the task, whose `fence` is for the next beat.

        Refused with `stale_heartbeat` when somebody else has beaten for it since.
        """
        path = f"/v1/tasks/{quote(task_id)}/heartbeat"
        return self.call("POST", path, json={"fence": fence}).body

    def end_task(self, task_id: str) -> Json:
        """End a task and with it every credential; the receipt. Ending twice is no error."""
        return self.call("POST", f"/v1/tasks/{quote(task_id)}/end").body

    def receipt(self, task_id: str) -> Json:
        """The receipt of an ended task, with what is known now."""
        return self.call("GET", f"/v1/tasks/{quote(task_id)}/receipt").body

    def settled(self, task_id: str, *, within: float) -> Json:
        """The receipt once it is complete, or as it stands after `within` seconds."""
        deadline = time.monotonic() + within
        receipt = self.receipt(task_id)
        while receipt["status"] != "complete" and time.monotonic() < deadline:
            time.sleep(0.25)
            receipt = self.receipt(task_id)
        return receipt

    @contextmanager
    def task(
        self, purpose: str, scopes: Sequence[str], ttl: int, *, heartbeat: int | None = None
    ) -> Iterator[Json]:
        """A task that ends, with all its credentials, when the block is left.

        With a `heartbeat` (seconds) a thread beats for it meanwhile, so that it also ends soon
        after this process dies.
        """
        task = self.start_task(purpose, scopes, ttl, heartbeat=heartbeat)
        try:
            with Pulse(self, task) if heartbeat is not None else nullcontext():
                yield task
        finally:
            self.end_task(task["id"])

    # --- credentials ------------------------------------------------------------------------

    @cached_property
    def sealing_key(self) -> SealingKey:
        """The key that answers are sealed to, made when it is first needed; it is not kept."""
        return SealingKey()

    def request(
        self,
        ask: Ask,
        *,
        idempotency_key: str | None = None,
        redeliver: str | None = None,
        seal: bool = False,
    ) -> Granted | Waiting:
        """Ask for a credential, and acknowledge it where that is awaited.

        `idempotency_key` is made when not given; give one to be able to repeat after Unreachable.
        `redeliver` is the lease whose answer was lost. With `seal`, and wherever the catalogue
        demands it, the answer is sealed to `sealing_key` on its way and opened here.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        headers |= _redelivery(redeliver)
        try:
            return self._asked(ask, headers, seal)
        except Refusal as no:
            if seal or no.code != "sealing_required":
                raise
        return self._asked(ask, headers, True)

    def fetch_sealed(self, lease_id: str) -> Granted | Waiting:
        """A sealed credential again, whose answer was lost; the broker keeps it for two minutes."""
        path = f"/v1/leases/{quote(lease_id)}/sealed"
        return self._received(self.call("GET", path), sealed=True)

    def acknowledge(self, lease_id: str) -> Json:
        """Say that a credential came; the lease as it is then."""
        return self.call("POST", f"/v1/leases/{quote(lease_id)}/ack").body

    def renew(self, lease_id: str) -> Json:
        """Let the same credential live for another TTL; the lease, with the next `renew_by`.

        Refused with `not_renewable` when it was not asked for, or its life is over.
        """
        return self.call("POST", f"/v1/leases/{quote(lease_id)}/renew").body

    def explain(self, ask: Ask) -> Json:
        """The decision that `request` would get now; nothing is minted."""
        return self.call("POST", "/v1/credentials/explain", json=ask.body()).body

    def grant(self, grant_id: str) -> Json:
        """One grant as it stands."""
        return self.call("GET", f"/v1/grants/{quote(grant_id)}").body

    def collect(self, grant_id: str, *, redeliver: str | None = None) -> Granted | Waiting:
        """Collect the credential of an approved grant, once.

        Raises CannotBeOpened, and collects nothing, when it is sealed to another process's key.
        """
        self._must_open(grant_id)
        path = f"/v1/grants/{quote(grant_id)}/collect"
        return self._received(self.call("POST", path, headers=_redelivery(redeliver)))

    def await_decision(self, grant_id: str, *, within: float) -> Json:
        """The grant once people decided, or still waiting after `within` seconds."""
        deadline = time.monotonic() + within
        grant = self.grant(grant_id)
        while grant["state"] == "waiting" and time.monotonic() < deadline:
            time.sleep(0.5)
            grant = self.grant(grant_id)
        return grant

    def catalogue(self) -> Json:
        """What this caller may ask for."""
        return self.call("GET", "/v1/catalogue").body

    # --- the rest ---------------------------------------------------------------------------

    def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        query: Mapping[str, str | int | None] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Any call of the HTTP contract, signed; members of `query` that are None are left out."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        whole = f"{path}?{urlencode(given)}" if given else path
        return self.session.send(method, whole, json=json, headers=headers)

    def _asked(self, ask: Ask, headers: Mapping[str, str], seal: bool) -> Granted | Waiting:
        body = ask.body() | ({"seal_to": self.sealing_key.jwk()} if seal else {})
        answer = self.call("POST", "/v1/credentials", json=body, headers=headers)
        return self._received(answer, sealed=seal)

    def _received(self, answer: Answer, *, sealed: bool = False) -> Granted | Waiting:
        """What an answer gives; a credential that ends unless it is acknowledged, is.

        What cannot be opened is of no use to us, and is revoked.
        """
        if answer.status == 202:
            return Waiting(answer.body["grant"])
        lease: Json = answer.body["lease"]
        try:
            credential = self._opened(answer.body, sealed=sealed)
        except CannotBeOpened:
            with suppress(Refusal, Unreachable):
                self.call("POST", f"/v1/leases/{quote(lease['id'])}/revoke")
            raise
        if lease.get("ack_by") is not None:
            lease = self._acknowledged(lease)
        return Granted(lease, credential)

    def _opened(self, body: Json, *, sealed: bool) -> Json:
        """The credential in an answer; what was to be sealed must be."""
        if "sealed" in body:
            return self.sealing_key.open(body["sealed"], body["lease"]["id"])
        if sealed:
            raise CannotBeOpened("the answer came in the clear, though it was to be sealed")
        credential: Json = body["credential"]
        return credential

    def _must_open(self, grant_id: str) -> None:
        """Raise CannotBeOpened for a grant that is sealed to a key that is not ours."""
        named = None
        with suppress(Refusal):  # collecting says it better
            named = (self.grant(grant_id).get("shown") or {}).get("sealed_to")
        if named is not None and named != self.sealing_key.thumbprint:
            raise CannotBeOpened("it is sealed to a key that only the process that asked holds")

    def _acknowledged(self, lease: Json) -> Json:
        """Acknowledge, a few times if need be; raises what the last try raised."""
        for wait in ACK_AGAIN:
            try:
                return self.acknowledge(lease["id"])
            except Unreachable:
                time.sleep(wait)
        return self.acknowledge(lease["id"])

    def close(self) -> None:
        """Give back every connection."""
        self.session.wire.close()

    def __enter__(self) -> Valetkey:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


def _redelivery(lease_id: str | None) -> dict[str, str]:
    return {} if lease_id is None else {"Redeliver": lease_id}


__all__ = ["Ask", "Granted", "Refusal", "Valetkey", "Waiting"]
