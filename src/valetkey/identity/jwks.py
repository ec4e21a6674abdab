"""The public keys of each registered issuer: fetched rarely, bounded, and kept.

A stranger cannot make us fetch: only a registered issuer has a key source, a key id that we do
not know causes at most one fetch per cool-down, and threads that want the same fetch share it.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2

from valetkey.core.errors import NotReady
from valetkey.core.trust import IssuerRecord
from valetkey.identity.doorstep import Places
from valetkey.identity.jose import BadToken, VerifyingKey, strict_object, verifying_key
from valetkey.identity.platforms import PROFILES

LARGEST_SET: Final = 256 * 1024
MOST_KEYS: Final = 100
KEEP: Final = 86_400.0
"""Seconds for which keys are used that cannot be had anew."""
_WHOLE_FETCH: Final = 10.0

Keys = Mapping[str, VerifyingKey]


@dataclass(frozen=True)
class Pace:
    """How often keys are fetched, in seconds.

    A set is refreshed after `ttl`, after an unknown kid or a failure at most once per
    `cool_down` (while there are no keys at all: `retry`), and is used no longer than `keep`
    when it cannot be refreshed.
    """

    ttl: float = 300.0
    cool_down: float = 30.0
    retry: float = 2.0
    keep: float = KEEP


def keys_of(jwks: Mapping[str, object], use: str = "sig") -> Keys:
    """The usable keys of a JWK Set by kid; raises BadToken when it is not a set.

    Keys that we cannot use are left out, and so is every key of a kid that is there twice.
    Where a platform has a word of its own for `use`, only keys that say it are taken.
    """
    listed = jwks.get("keys")
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise BadToken("not a JWK Set of at most 100 keys")
    kids = [jwk.get("kid") for jwk in listed if isinstance(jwk, dict)]
    found: dict[str, VerifyingKey] = {}
    for jwk in listed:
        kid = jwk.get("kid") if isinstance(jwk, dict) else None
        if isinstance(kid, str) and kids.count(kid) == 1:
            try:
                found[kid] = verifying_key(_for_signatures(jwk, use))
            except BadToken:
                continue
    return found


def _for_signatures(jwk: Mapping[str, object], use: str) -> Mapping[str, object]:
    if use == "sig":
        return jwk
    if jwk.get("use") != use:
        raise BadToken("the key is for something else")
    return {**jwk, "use": "sig"}


def fetch_bounded(url: str) -> bytes:
    """GET a JSON document: no redirects, no proxies or credentials from the environment.

    At most 256 KiB within 10 seconds; raises OSError for anything but a plain 200.
    """
    give_up = time.monotonic() + _WHOLE_FETCH
    parts: list[bytes] = []
    try:
        with (
            httpx2.Client(
                follow_redirects=False, trust_env=False, timeout=3.0, verify=_trusted(url)
            ) as client,
            client.stream("GET", url, headers={"Accept": "application/json"}) as answer,
        ):
            if answer.status_code != 200:
                raise OSError("the answer is not 200")
            for part in answer.iter_bytes(16_384):
                parts.append(part)
                if sum(map(len, parts)) > LARGEST_SET or time.monotonic() > give_up:
                    raise OSError("the answer is too large or too slow")
    except (httpx2.HTTPError, httpx2.InvalidURL) as failed:
        raise OSError(f"the fetch failed: {type(failed).__name__}") from None
    return b"".join(parts)


def _trusted(url: str) -> ssl.SSLContext | bool:
    """The usual CAs; nobody for a plain address of loopback, which needs none read."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.startswith("http://") else True


def read_file(path: str) -> bytes:
    """The JSON document in a file, as much of it as a set may have; raises OSError."""
    with Path(path).open("rb") as file:
        return file.read(LARGEST_SET + 1)


class KeySource:
    """The keys of one issuer, from its record, its address, agent or file. Safe for threads.

    A file is read again as often as an address is asked, for platforms replace it.
    """

    def __init__(
        self,
        record: IssuerRecord,
        pace: Pace = Pace(),
        fetch: Callable[[str], bytes] = fetch_bounded,
        monotonic: Callable[[], float] = time.monotonic,
        places: Places | None = None,
    ) -> None:
        """`places` bound how many wait for one fetch; without them all do."""
        self._url = record.jwks_uri or record.jwks_file or record.workload_api
        self._use = PROFILES[record.platform].key_use
        self._pace = pace
        self._fetch = fetch if record.jwks_file is None else read_file
        self._monotonic = monotonic
        self._waiting = places.taken if places is not None else nullcontext
        self._keys: Keys = {} if record.jwks is None else keys_of(record.jwks, self._use)
        self._good_at = float("-inf")
        self._tried_at = float("-inf")
        self._one_fetch = threading.Lock()

    def key(self, kid: str) -> VerifyingKey:
        """The key of this id.

        Raises BadToken when the issuer has no such key, NotReady when we have no keys of it or
        when too many wait for them.
        """
        if self._url is None:
            return _pick(self._keys, kid)
        if self._too_old(self._pace.keep):
            with self._waiting():
                self._refresh(self._url, wait=True)
        elif self._too_old(self._pace.ttl):
            self._refresh(self._url, wait=False)
        if self._too_old(self._pace.keep):
            raise NotReady("the issuer's keys cannot be fetched", retry_after=self._pace.retry)
        if kid not in self._keys:
            with self._waiting():
                self._refresh(self._url, wait=True)
        return _pick(self._keys, kid)

    def _too_old(self, seconds: float) -> bool:
        return self._monotonic() - self._good_at > seconds

    def _refresh(self, url: str, *, wait: bool) -> None:
        """Fetch, unless somebody has just tried; those who wait find the result of the other."""
        if not self._may_try() or not self._one_fetch.acquire(blocking=wait):
            if wait:
                self._await_other()
            return
        try:
            if self._may_try():
                self._tried_at = self._monotonic()
                self._keys = keys_of(strict_object(self._fetch(url)), self._use)
                self._good_at = self._monotonic()
        except (OSError, BadToken):
            return
        finally:
            self._one_fetch.release()

    def _may_try(self) -> bool:
        pause = self._pace.retry if self._too_old(self._pace.keep) else self._pace.cool_down
        return self._monotonic() - self._tried_at >= pause

    def _await_other(self) -> None:
        with self._one_fetch:
            return


def _pick(keys: Keys, kid: str) -> VerifyingKey:
    if kid not in keys:
        raise BadToken("the issuer has no key of this kid")
    return keys[kid]
