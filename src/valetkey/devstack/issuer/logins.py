"""Logins on their way: authorization codes (RFC 6749, 7636) and device codes (RFC 8628).

Plain state machines in memory under one lock; `now` is seconds of any monotonic clock. What goes
wrong is an OAuthError with the exact code of the RFC.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from dataclasses import dataclass, field

from valetkey.devstack.issuer.people import Person

CODE_LIFE = 60.0
DEVICE_LIFE = 600.0
INTERVAL = 1.0
"""Seconds between polls we ask for at first; each `slow_down` adds five (RFC 8628 3.5)."""
WRONG_PASSWORDS = 5
_USER_CODE_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"


class OAuthError(Exception):
    """An error answer of RFC 6749 5.2 or RFC 8628 3.5: code, sentence and HTTP status."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        self.code = code
        self.description = description
        self.status = status
        super().__init__(f"{code}: {description}")


@dataclass(frozen=True)
class Login:
    """Somebody proved who they are: person, when (epoch seconds), for which client and nonce."""

    person: Person
    auth_time: int
    client_id: str
    nonce: str | None


@dataclass(frozen=True)
class Code:
    """One authorization code's terms."""

    login: Login
    redirect_uri: str
    challenge: str
    until: float


@dataclass
class Device:
    """One device authorization in progress."""

    client_id: str
    nonce: str | None
    user_code: str
    until: float
    interval: float = INTERVAL
    last_poll: float = float("-inf")
    wrong_passwords: int = 0
    denied: bool = False
    login: Login | None = None


@dataclass
class Logins:
    """All logins on their way. Every method is safe to call from several threads."""

    _codes: dict[str, Code] = field(default_factory=dict)
    _devices: dict[str, Device] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def new_code(self, login: Login, redirect_uri: str, challenge: str, now: float) -> str:
        """Return a code for a finished login; `challenge` is the S256 code challenge."""
        code = secrets.token_urlsafe(32)
        with self._lock:
            self._codes = {key: one for key, one in self._codes.items() if one.until > now}
            self._codes[code] = Code(login, redirect_uri, challenge, now + CODE_LIFE)
        return code

    def redeem_code(self, code: str, verifier: str, sent: tuple[str, str], now: float) -> Login:
        """Return the login of `code`, once. `sent` is the client id and redirect URI sent now.

        Raises OAuthError invalid_grant for an unknown, used or late code, another client or
        redirect URI, or a verifier that does not match (RFC 7636 4.6).
        """
        with self._lock:
            found = self._codes.pop(code, None)
        if found is None or found.until <= now:
            raise OAuthError("invalid_grant", "the code is unknown, used or expired")
        if (found.login.client_id, found.redirect_uri) != sent:
            raise OAuthError("invalid_grant", "the code was made for another client or address")
        digest = hashlib.sha256(verifier.encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != found.challenge:
            raise OAuthError("invalid_grant", "the code verifier does not match")
        return found.login

    def new_device(self, client_id: str, nonce: str | None, now: float) -> tuple[str, str]:
        """Return a device code and its user code."""
        device_code = secrets.token_urlsafe(32)
        letters = "".join(secrets.choice(_USER_CODE_ALPHABET) for _ in range(8))
        user_code = f"{letters[:4]}-{letters[4:]}"
        with self._lock:
            self._devices = {key: one for key, one in self._devices.items() if one.until > now}
            self._devices[device_code] = Device(client_id, nonce, user_code, now + DEVICE_LIFE)
        return device_code, user_code

    def device_by_user_code(self, user_code: str, now: float) -> Device | None:
        """Return the waiting device with that user code, however it is typed."""
        wanted = user_code.strip().upper().replace("-", "").replace(" ", "")
        with self._lock:
            for device in self._devices.values():
                if device.user_code.replace("-", "") == wanted and _waits(device, now):
                    return device
        return None

    def wrong_password(self, device: Device) -> None:
        """Count a wrong password; the fifth ends the device code."""
        with self._lock:
            device.wrong_passwords += 1
            device.denied = device.wrong_passwords >= WRONG_PASSWORDS

    def settle(self, device: Device, login: Login | None) -> None:
        """Approve the device with a login, or deny it with None."""
        with self._lock:
            device.login = login
            device.denied = login is None

    def poll(self, device_code: str, client_id: str, now: float) -> Login:
        """Return the login of a device code, once.

        Raises OAuthError authorization_pending, slow_down, access_denied, expired_token or
        invalid_grant (RFC 8628 3.5).
        """
        with self._lock:
            device = self._devices.get(device_code)
            if device is None or device.client_id != client_id:
                raise OAuthError("invalid_grant", "the device code is unknown or used")
            if device.until <= now:
                del self._devices[device_code]
                raise OAuthError("expired_token", "the device code has expired")
            too_soon = now - device.last_poll < device.interval - 0.05
            device.last_poll = now
            if device.denied:
                del self._devices[device_code]
                raise OAuthError("access_denied", "the person said no")
            if too_soon:
                device.interval += 5.0
                raise OAuthError("slow_down", "poll less often")
            if device.login is None:
                raise OAuthError("authorization_pending", "the person has not answered yet")
            del self._devices[device_code]
            return device.login


def _waits(device: Device, now: float) -> bool:
    return device.until > now and device.login is None and not device.denied
