"""The emulator as a child of the dev stack: keys, life, clients (botocore loaded when needed).

Everything it holds is in memory. When it is started again, bucket, role and broker are laid out
afresh, and sessions of before are unknown to it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import urllib3

from valetkey.devstack import process
from valetkey.devstack.aws import exports
from valetkey.devstack.aws.callers import ROOT, new_key
from valetkey.devstack.command import Command
from valetkey.devstack.folders import DataFolder, read_json, write_json, write_private


class Aws:
    """The AWS emulator of one data folder."""

    name = "aws"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: DataFolder) -> None:
        self.folder = folder
        self.port = 0

    @property
    def address(self) -> str:
        """The endpoint of S3, STS and IAM alike."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials_file(self) -> Path:
        """The broker's long-lived key, as a shared credentials file (0600), profile `default`."""
        return self.folder.secrets / f"{exports.BROKER}.aws"

    @property
    def external_id_file(self) -> Path:
        """The external id that the sample role's trust policy demands (0600)."""
        return self.folder.secrets / "orders-exports.external-id"

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it; returns at once. Raises OSError when it cannot be executed."""
        self.port = self.port or process.port_for(self.folder, self.name)
        user, secret = self._keys[exports.BROKER]
        write_private(
            self.credentials_file,
            f"[default]\naws_access_key_id = {user}\naws_secret_access_key = {secret}\n",
        )
        argv = [sys.executable, "-m", "valetkey.devstack.aws"]
        argv += ["--port", str(self.port), "--keys", str(self._keys_file)]
        return self._command(argv).spawn()

    def ready(self, pid: int) -> bool:
        """Tell whether our own process `pid` answers."""
        return self._command([]).ready(pid)

    def after_ready(self) -> None:
        """Lay out the sample target. Raises botocore's ClientError when that is refused."""
        clients = exports.Clients(self.client("iam"), self.client("s3"))
        exports.provision(clients, self.external_id())

    def external_id(self) -> str:
        """Return the external id, made on first use."""
        return self.folder.secret(self.external_id_file.name)

    def client(self, service: str, user: str = ROOT) -> Any:
        """Return a boto3 client of `service` as `root` or as the broker's user."""
        return client(self.address, service, tuple(self._keys[user]))

    def turn(self, **knobs: Any) -> None:
        """Turn the emulator's knobs: `ahead`, `lag` (seconds), `faults`; for tests.

        Raises RuntimeError when it refuses.
        """
        answer = urllib3.request(
            "POST",
            f"{self.address}/_emulator",
            body=json.dumps(knobs),
            headers={"X-Emulator-Key": self._keys[ROOT][1]},
        )
        if answer.status != 200:
            raise RuntimeError(f"the emulator answered {answer.status}")

    def endpoints(self) -> dict[str, Any]:
        """Return where everything is, as JSON values without secrets."""
        return {
            "emulator": True,
            "endpoint": self.address,
            "region": exports.REGION,
            "account": exports.ACCOUNT,
            "credentials_file": str(self.credentials_file),
            "external_id_file": str(self.external_id_file),
            "role_arn": exports.ROLE_ARN,
            "cut_policy": exports.CUT_POLICY,
            "bucket": exports.BUCKET,
        }

    @cached_property
    def _keys(self) -> dict[str, tuple[str, str]]:
        """Access key id and secret of `root` and of the broker, made on first use."""
        if not self._keys_file.exists():
            fresh = {
                user: [new_key("AKIA"), self.folder.secret(f"aws-{user}.secret")]
                for user in (ROOT, exports.BROKER)
            }
            write_json(self._keys_file, fresh)
        found: dict[str, list[str]] = read_json(self._keys_file)
        return {user: (key, secret) for user, (key, secret) in found.items()}

    @property
    def _keys_file(self) -> Path:
        return self.folder.secrets / "aws.keys"

    def _command(self, argv: list[str]) -> Command:
        return Command(self.folder, self.name, argv, self.port, "/_emulator", {})


def client(
    endpoint: str | None, service: str, keys: tuple[str, ...], region: str = exports.REGION
) -> Any:
    """Return a client of boto3's kind with just these keys: `(id, secret)` or with a token.

    `endpoint` None is AWS itself. Nothing is read from the environment or a home directory. Not
    for several threads at once.
    """
    from botocore.config import Config

    token = keys[2] if len(keys) > 2 else None
    return _session().create_client(
        service,
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        aws_session_token=token,
        config=Config(
            retries={"total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=30,
            signature_version="s3v4" if service == "s3" else None,
        ),
    )


@lru_cache(maxsize=1)
def _session() -> Any:
    """One botocore session that knows no file and no profile; it caches the services' models."""
    import botocore.session

    nothing = (None, None, os.devnull, None)
    return botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": nothing,
            "credentials_file": nothing,
        }
    )
