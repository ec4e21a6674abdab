"""Clients of AWS that know nothing but what they were told.

botocore looks for credentials, endpoints, proxies and retries in the environment, in the home
directory and at the machine's metadata address. A broker that did would act as whoever its
machine is. Ours looks at none of them: every setting of a session is set, its chain of credential
providers is empty, and a client is made only with keys that were read from our own files.
"""

from __future__ import annotations

import configparser
import os
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES as VARIABLES
from botocore.credentials import CredentialResolver

from valetkey.core.errors import MinterUnavailable
from valetkey.minters.aws_errors import AWS_TROUBLE, spoken

EARLY = timedelta(minutes=5)
"""So long before its end our own session is replaced by another."""
HOME = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
"""Where each partition's IAM is; it has one for all regions."""


@dataclass(frozen=True)
class Identity:
    """Who we are: a key in a file of ours, or a role we may take with our platform's token."""

    access_key_file: Path | None = None
    role_arn: str = ""
    web_identity_token_file: Path | None = None
    external_id_file: Path | None = None

    def external_id(self) -> str | None:
        """What the roles' trust policies ask for, read anew each time; None without a file."""
        return _read(self.external_id_file).strip() if self.external_id_file else None


@dataclass(frozen=True)
class Endpoints:
    """Where STS and IAM are, when not at AWS, and how long we wait for them (seconds)."""

    sts: str | None = None
    iam: str | None = None
    connect: float = 5.0
    read: float = 20.0


@dataclass(frozen=True)
class Keys:
    """One set of credentials; prints nothing."""

    key: str
    secret: str
    token: str | None = None
    until: datetime | None = None

    def __repr__(self) -> str:
        return "Keys(...)"


class AwsClients:
    """One client per service and region, made anew when our own keys are."""

    def __init__(self, identity: Identity, endpoints: Endpoints) -> None:
        self.identity, self.endpoints = identity, endpoints
        self._session = isolated_session()
        self._lock = threading.RLock()
        self._made: dict[tuple[str, str], Any] = {}
        self._keys: tuple[object, Keys] | None = None

    def sts(self, region: str) -> Any:
        """STS of a region. Raises MinterUnavailable when we have no keys of our own."""
        return self._client("sts", region, self.endpoints.sts)

    def iam(self, role_arn: str) -> Any:
        """IAM of a role's partition. Raises MinterUnavailable when we have no keys of our own."""
        home = HOME.get(role_arn.split(":")[1], HOME["aws"])
        return self._client("iam", home, self.endpoints.iam)

    def with_keys(self, service: str, region: str, keys: Keys, endpoint: str | None) -> Any:
        """A client that acts as somebody else; it is not kept."""
        return self._build(service, (region, endpoint), keys)

    def _client(self, service: str, region: str, endpoint: str | None) -> Any:
        with self._lock:
            keys = self._own_keys(region)
            if (service, region) not in self._made:
                self._made[service, region] = self._build(service, (region, endpoint), keys)
            return self._made[service, region]

    def _own_keys(self, region: str) -> Keys:
        """Our keys; whenever they are others than before, all clients are forgotten."""
        file = self.identity.access_key_file or self.identity.web_identity_token_file
        if file is None:
            raise MinterUnavailable("no identity at AWS is configured")
        read_from = _version(file)
        if self._keys is not None:
            version, keys = self._keys
            lasts = keys.until is None or datetime.now(UTC) < keys.until - EARLY
            if lasts and (version == read_from or keys.until is not None):
                return keys
        fresh = self._exchanged(region) if self.identity.role_arn else _key_in(file)
        self._keys, self._made = (read_from, fresh), {}
        return fresh

    def _exchanged(self, region: str) -> Keys:
        """AssumeRoleWithWebIdentity, which is not signed: the token is the proof."""
        token = _read(self.identity.web_identity_token_file).strip()
        client = self._build("sts", (region, self.endpoints.sts), None)
        try:
            answer = client.assume_role_with_web_identity(
                RoleArn=self.identity.role_arn,
                RoleSessionName="valetkey",
                WebIdentityToken=token,
            )
        except AWS_TROUBLE as problem:
            raise spoken(problem, once=False) from None
        return keys_of(answer["Credentials"])

    def _build(self, service: str, where: tuple[str, str | None], keys: Keys | None) -> Any:
        region, endpoint = where
        config = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=self.endpoints.connect,
            read_timeout=self.endpoints.read,
            proxies={},
            ignore_configured_endpoint_urls=True,
            max_pool_connections=48,
            signature_version=UNSIGNED if keys is None else None,
        )
        given = {} if keys is None else _as_arguments(keys)
        return self._session.create_client(
            service, region_name=region, endpoint_url=endpoint, config=config, verify=True, **given
        )


def isolated_session() -> Any:
    """A botocore session that reads neither environment nor home directory nor metadata."""
    session = botocore.session.Session()
    store = session.get_component("config_store")
    for name, (_, _, default, _) in VARIABLES.items():
        store.set_config_variable(name, default)
    for name in ("config_file", "credentials_file"):
        store.set_config_variable(name, os.devnull)
    session.register_component("credential_provider", CredentialResolver(providers=[]))
    return session


def keys_of(answer: Mapping[str, Any]) -> Keys:
    """The `Credentials` of an STS answer."""
    until: datetime = answer["Expiration"]
    return Keys(answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"], until)


def _key_in(file: Path) -> Keys:
    """Profile `default` of a shared credentials file that others may not read."""
    if stat.S_IMODE(file.stat().st_mode) & 0o007:
        raise MinterUnavailable("the AWS access key file may be read by others")
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(_read(file))
        found = parser["default"]
        return Keys(found["aws_access_key_id"], found["aws_secret_access_key"])
    except (configparser.Error, KeyError):
        raise MinterUnavailable("the AWS access key file has no key in [default]") from None


def _version(file: Path) -> tuple[int, int, int]:
    """What changes when a file is written again or another is put in its place."""
    try:
        seen = file.stat()
    except OSError:
        raise MinterUnavailable("a file of our AWS identity cannot be read") from None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino


def _read(file: Path | None) -> str:
    try:
        return file.read_text() if file else ""
    except OSError:
        raise MinterUnavailable("a file of our AWS identity cannot be read") from None


def _as_arguments(keys: Keys) -> dict[str, str | None]:
    return {
        "aws_access_key_id": keys.key,
        "aws_secret_access_key": keys.secret,
        "aws_session_token": keys.token,
    }
