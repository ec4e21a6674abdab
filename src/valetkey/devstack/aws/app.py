"""The judging layer before moto, as a WSGI application.

For each request: who signed it, whether the signature is right, what it needs, whether every
policy that applies grants that; only then moto sees it. STS is answered by ourselves.
"""

from __future__ import annotations

import hmac
import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from valetkey.devstack.aws import calls_iam, calls_s3, signature, sts, wire
from valetkey.devstack.aws.asked import Request, Unsupported, Values
from valetkey.devstack.aws.callers import ROOT, Caller, Callers, Key
from valetkey.devstack.aws.clock import Fault, Knobs
from valetkey.devstack.aws.directory import ACCOUNT, Directory
from valetkey.devstack.aws.documents import decide
from valetkey.devstack.aws.wire import Call, Refused

log = logging.getLogger(__name__)

CONTROL = "/_emulator"
"""Where the emulator says what it is, and where the holder of the root secret turns its knobs."""

Start = Callable[[str, list[tuple[str, str]]], Any]
Wsgi = Callable[[dict[str, Any], Start], Iterable[bytes]]


@dataclass
class Emulator:
    """The application. `behind` is moto; `keys` are the long-lived keys known from the start."""

    behind: Wsgi
    keys: Mapping[str, Key]
    knobs: Knobs = field(default_factory=Knobs)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.directory = Directory(self.knobs)
        self.callers = Callers(self.directory, self.knobs, self.keys)
        self.directory.note()

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """Answer one request; what cannot be judged is refused with 501."""
        service = "s3"
        try:
            call = wire.read(environ)
            if call.path == CONTROL:
                return self._control(call, start)
            signed = signature.read(call)
            if signed is None:
                raise Refused(403, "AccessDenied", "Anonymous requests are not judged")
            service = signed.service
            if service not in ("s3", "iam", "sts"):
                raise wire.not_judged(f"the service {service}")
            caller = self.callers.find(signed.access_key, signed.token, service)
            signature.verify(call, signed, caller.secret, datetime.now(UTC))
            keys = {**caller.keys, "aws:RequestedRegion": signed.region}
            caller = replace(caller, keys=keys)
            serve = {"s3": self._s3, "iam": self._iam, "sts": self._sts}
            return serve[service](call, caller, _Moto(self.behind, environ, start))
        except Unsupported as unknown:
            return _refuse(environ, service, wire.not_judged(str(unknown)), start)
        except Refused as refused:
            return _refuse(environ, service, refused, start)

    # --- the three services ---------------------------------------------------------------

    def _sts(self, call: Call, caller: Caller, moto: _Moto) -> Iterable[bytes]:
        form = call.form
        self._spoil(f"sts:{form.get('Action')}", after=False)
        page = sts.answer(form, caller, self.callers, self._moment(call))
        self._spoil(f"sts:{form.get('Action')}", after=True)
        moto.start("200 OK", [("Content-Type", "text/xml"), ("Content-Length", str(len(page)))])
        return [page]

    def _iam(self, call: Call, caller: Caller, moto: _Moto) -> Iterable[bytes]:
        form = call.form
        needed = calls_iam.read(form, self.directory, caller.user)
        self._judge(caller, call, [needed])
        self._spoil(needed.action, after=False)
        if not calls_iam.changes(form):
            return moto.answer()
        with self._writing:
            calls_iam.check(form, self.directory)
            page = list(moto.answer_held())
            self.directory.note()
        self._spoil(needed.action, after=True)
        moto.release()
        return page

    def _s3(self, call: Call, caller: Caller, moto: _Moto) -> Iterable[bytes]:
        needed = calls_s3.read(call)
        self._judge(caller, call, needed)
        self._spoil(needed[0].action, after=False)
        page = list(moto.answer_held())
        if moto.status.startswith("404") and calls_s3.place(call)[1]:
            # S3 does not tell who may not list whether a key is there (GetObject, Permissions).
            self._judge(caller, call, [calls_s3.may_list(call)])
        moto.release()
        return page

    # --- judging --------------------------------------------------------------------------

    def _judge(self, caller: Caller, call: Call, needed: Iterable[Request]) -> None:
        if caller.is_root:
            return
        for one in needed:
            request = Request(
                one.action, one.resource, {**self._moment(call), **caller.keys, **one.keys}
            )
            verdict = decide(caller.layers, request)
            if not verdict.allowed:
                raise Refused(
                    403,
                    "AccessDenied",
                    f"User: {caller.arn} is not authorized to perform: {one.action} on resource: "
                    f'"{one.resource}" {verdict.because}',
                )

    def _moment(self, call: Call) -> dict[str, Values]:
        """Return the context keys of the moment and the network."""
        now = self.knobs.now()
        return {
            "aws:CurrentTime": now.isoformat(timespec="milliseconds"),
            "aws:EpochTime": str(int(now.timestamp())),
            "aws:SourceIp": call.came_from,
            "aws:SecureTransport": "false",
            "aws:ViaAWSService": "false",
            "aws:PrincipalAccount": ACCOUNT,
        }

    def _spoil(self, action: str, *, after: bool) -> None:
        fault = self.knobs.fault(action, after=after)
        if fault is not None:
            raise Refused(fault.status, fault.code, "a fault that was asked for")

    # --- the knobs ------------------------------------------------------------------------

    def _control(self, call: Call, start: Start) -> Iterable[bytes]:
        if call.method == "POST":
            root = next(key for key in self.keys.values() if key.user == ROOT)
            if not hmac.compare_digest(call.headers.get("x-emulator-key", ""), root.secret):
                raise Refused(403, "AccessDenied", "only the holder of the root secret may")
            turned = json.loads(call.body)
            self.knobs.ahead = float(turned.get("ahead", self.knobs.ahead))
            self.knobs.lag = float(turned.get("lag", self.knobs.lag))
            if "faults" in turned:
                self.knobs.faults = [Fault(**fault) for fault in turned["faults"]]
        told = {"emulator": "Valetkey's judging layer before moto", "unproven_on_aws": True}
        page = json.dumps(told | {"ahead": self.knobs.ahead, "lag": self.knobs.lag}).encode()
        start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(page)))])
        return [page]


@dataclass
class _Moto:
    """One request on its way to moto, whose answer may be held until it is known to be told."""

    behind: Wsgi
    environ: dict[str, Any]
    start: Start
    status: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)

    def answer(self) -> Iterable[bytes]:
        """Let moto answer."""
        return self.behind(self.environ, self.start)

    def answer_held(self) -> Iterable[bytes]:
        """Let moto answer; status and headers are kept until `release`."""

        def hold(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            self.status, self.headers = status, headers

        return self.behind(self.environ, hold)

    def release(self) -> None:
        """Tell what moto said."""
        self.start(self.status, self.headers)


def _refuse(
    environ: Mapping[str, Any], service: str, refused: Refused, start: Start
) -> Iterable[bytes]:
    """Answer an error; that to HEAD has no body, so clients see only its status."""
    looks = environ["REQUEST_METHOD"] == "HEAD"
    page = b"" if looks else wire.error_page(service, refused)
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(page)))]
    start(f"{refused.status} {HTTPStatus(refused.status).phrase}", headers)
    return [page]
