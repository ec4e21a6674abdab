"""What leads to each refusal: a hall whose parts can go away, and a client in trouble."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from joserfc.jwk import ECKey

from tests.api.backchannel import SCOPE, START, TOKEN, WRITE, CibaClient, grant_of
from tests.api.hall import Hall
from tests.api.test_oauth import call, form, job, pod
from tests.api.test_revocation import other, revoke
from valetkey.core.admission import Rate
from valetkey.core.decision import Outcome
from valetkey.core.errors import MinterUnavailable, StoreUnavailable
from valetkey.testing.memory_store import MemoryStore, MemoryTransaction

BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class GoingStore(MemoryStore):
    """A store that can go away."""

    away = False

    def _here(self) -> None:
        if self.away:
            raise StoreUnavailable()

    def now(self) -> datetime:
        """The store's time."""
        self._here()
        return super().now()

    def transaction(self) -> AbstractContextManager[MemoryTransaction]:
        """Begin."""
        self._here()
        return super().transaction()


@dataclass
class Scene:
    """A hall, and a client with a task of its own."""

    hall: Hall
    store: GoingStore
    client: CibaClient

    @classmethod
    def of(cls, stack: ExitStack, **hall: Any) -> Scene:
        """A fresh one."""
        store = GoingStore()
        opened = Hall(stack, store, **hall)
        client = CibaClient(opened, ECKey.generate_key("P-256"), "")
        return cls(opened, store, client if "nonces" in hall else CibaClient.of(opened))

    def exchanged(self, **changes: str) -> Any:
        """A token exchange that would be right but for these changes."""
        return self.hall.exchange({**form(pod(self.hall)), **changes}, self.client.key)

    def native(self, method: str, path: str, body: object = None) -> Any:
        """A call by the client with a whole token."""
        return call(self.hall, self.client.key, self.client.whole(), method, path, body)

    def ask(self, scope: str = SCOPE) -> Any:
        """A native ask."""
        body = {"task": self.client.task, "scope": scope, "ttl": 60}
        return self.native("POST", "/v1/credentials", body)

    def later(self, seconds: int) -> None:
        """Let time pass."""
        self.store.time += timedelta(seconds=seconds)

    def policy_says_no(self) -> None:
        """From now on."""
        self.hall.stage.policy.outcomes = dict.fromkeys(("read", "write"), Outcome.DENY)

    def killed(self) -> None:
        """The target, for all."""
        order = {"height": "target", "subject": "orders-db", "reason": "a test"}
        assert self.hall.operator.call("POST", "/v1/kill", order).status_code in (200, 202)

    def waiting(self) -> str:
        """A grant that waits, by its back-channel id."""
        return self.client.begun(WRITE)

    def denied(self) -> str:
        """One that a person said no to."""
        auth_req_id = self.waiting()
        path = f"/v1/grants/{grant_of(auth_req_id)}/deny"
        assert self.hall.approver.call("POST", path).status_code == 200
        return auth_req_id

    def hurried(self, burst: int) -> None:
        """Everybody is too fast from that many on."""
        limits = replace(self.hall.stage.broker.limits, rate=Rate(0.1, burst))
        broker = replace(self.hall.stage.broker, limits=limits)
        self.hall.app.state.desk = replace(self.hall.app.state.desk, broker=broker)


def twice(scene: Scene) -> Any:
    """A parameter that is there twice."""
    head = {"Content-Type": "application/x-www-form-urlencoded"}
    return scene.hall.client.post(TOKEN, content=b"grant_type=a&grant_type=a", headers=head)


def by_basic(scene: Scene) -> Any:
    """A secret in a header."""
    head = {"Authorization": "Basic Zm9vOmJhcg=="}
    return scene.hall.client.post(TOKEN, data=form(pod(scene.hall)), headers=head)


def of_a_person(scene: Scene) -> Any:
    """A person's token where agents ask."""
    data = {"authorization_details": json.dumps([scene.client.detail()])}
    return scene.hall.client.post(START, data=data, headers=scene.hall.owner.headers("POST", START))


def without_proof(scene: Scene) -> Any:
    """A token request without a DPoP proof."""
    return scene.hall.client.post(TOKEN, data=form(job(scene.hall)))


def too_fast(scene: Scene) -> Any:
    """The second poll."""
    auth_req_id = scene.waiting()
    scene.client.poll(auth_req_id)
    return scene.client.poll(auth_req_id)


def too_late(scene: Scene) -> Any:
    """After the time that people had."""
    begun = scene.client.start(requested_expiry="30").json()
    scene.later(31)
    return scene.client.poll(begun["auth_req_id"])


def polled_again(scene: Scene) -> Any:
    """After the answer."""
    auth_req_id = scene.client.begun(SCOPE)
    assert scene.client.poll(auth_req_id).status_code == 200
    scene.later(6)
    return scene.client.poll(auth_req_id)


def after(change: Callable[[Scene], None], do: Callable[[Scene], Any]) -> Callable[[Scene], Any]:
    """First the one, then the other."""

    def both(scene: Scene) -> Any:
        change(scene)
        return do(scene)

    return both


def store_goes(scene: Scene) -> None:
    """The database is away."""
    scene.store.away = True


def target_goes(scene: Scene) -> None:
    """The target is away."""
    scene.hall.stage.minter.fail_mint.append(MinterUnavailable(retry_after=7))


def agent_stops(scene: Scene) -> None:
    """The agent is disabled."""
    assert scene.hall.owner.call("POST", "/v1/agents/refund-bot/disable").status_code == 200


def stale_approval(scene: Scene) -> Any:
    """An approval with a login that was not made for it."""
    grant = scene.hall.approver.get(f"/v1/grants/{grant_of(scene.waiting())}")
    path = f"/v1/grants/{grant['id']}/approve"
    return scene.hall.approver.call("POST", path, {"shown_hash": grant["shown_hash"]})


def under(scheme: str) -> Callable[[Scene], Any]:
    """A good token under this scheme; without one when it is empty."""

    def asked(scene: Scene) -> Any:
        headers = scene.hall.bot.headers("GET", "/v1/tasks")
        head = {"Authorization": f"{scheme} {scene.hall.bot.token}"} if scheme else {}
        return scene.hall.client.get("/v1/tasks", headers={"DPoP": headers["DPoP"], **head})

    return asked


def expired(scene: Scene) -> Any:
    """A token past its end."""
    token = scene.client.whole()
    scene.later(301)
    return call(scene.hall, scene.client.key, token, "GET", "/v1/tasks")


def revoked(scene: Scene) -> Any:
    """A token that was revoked."""
    second = other(scene.hall)
    assert revoke(scene.hall.bot, second.token).status_code == 200
    return second.call("GET", "/v1/tasks")


def for_another_url(scene: Scene) -> Any:
    """A proof made for another address."""
    proof = scene.hall.bot.proof("GET", "/v1/leases")
    return scene.hall.bot.call("GET", "/v1/tasks", DPoP=proof)


def narrowed(scene: Scene) -> Any:
    """A token that was given for something else."""
    auth_req_id = scene.client.begun(SCOPE)
    token = scene.client.poll(auth_req_id).json()["access_token"]
    body = {"task": scene.client.task, "scope": SCOPE, "ttl": 60}
    return call(scene.hall, scene.client.key, token, "POST", "/v1/credentials", body)


def asked(**form: str) -> Callable[[Scene], Any]:
    """An ask in the back channel with these parameters."""
    return lambda scene: scene.client.start(**form)


def exchanged(**form: str) -> Callable[[Scene], Any]:
    """A token exchange with these parameters."""
    return lambda scene: scene.exchanged(**form)


def bearer(scene: Scene) -> Any:
    """A broken assertion."""
    return scene.hall.exchange({"grant_type": BEARER, "assertion": "e30.e30.e30"}, scene.client.key)


def wrong_assertion(scene: Scene) -> Any:
    """A client assertion that is none."""
    return scene.client.start(client_assertion="e30.e30.e30")


def a_form(scene: Scene) -> Any:
    """A token request."""
    return scene.hall.client.post(TOKEN, data=form("e30.e30.e30"))


def a_stranger(scene: Scene) -> Any:
    """A call by whom nobody knows yet."""
    head = {"Authorization": "DPoP e30.e30.e30", "DPoP": "e30.e30.e30"}
    return scene.hall.client.get("/v1/tasks", headers=head)
