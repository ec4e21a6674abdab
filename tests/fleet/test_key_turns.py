"""A real server whose signing keys turn while it runs: no restart, and if it is behind it says so."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
from joserfc.jwk import ECKey

from tests.faults.ground import Ground, until_true
from tests.faults.served import Served, serving
from valetkey.bootstrap.keys import TurningKeys
from valetkey.flows.tell_keys import SIGNS
from valetkey.identity.key_ring import KeyFiles, KeyRing, file_name

HOUR = timedelta(hours=1)


def put(folder: Path, key: ECKey, ago: timedelta) -> Path:
    """A key that signs since so long; its file."""
    folder.mkdir(exist_ok=True)
    path = folder / file_name(datetime.now(UTC) - ago)
    path.write_bytes(key.as_pem(private=True))
    return path


def got(server: Served, path: str) -> Any:
    """What it answers, whatever its status."""
    return json.loads(urllib3.request("GET", server.url + path, timeout=5, retries=False).data)


def look_again(server: Served) -> None:
    """SIGHUP: its files were changed."""
    server.process.send_signal(signal.SIGHUP)


def published(server: Served) -> list[str]:
    """The ids that it publishes, the signing one first."""
    return [key["kid"] for key in got(server, "/oauth2/jwks")["keys"]]


@pytest.fixture
def told(ground: Ground) -> Iterator[None]:
    """What replicas told of their keys is forgotten, for those who come after have others."""
    yield
    ground.look("DELETE FROM uses WHERE slot = %s", SIGNS, database="valetkey")


@pytest.mark.usefixtures("told")
def test_a_server_that_lacks_a_key_is_unready_until_it_has_the_file(
    ground: Ground, tmp_path: Path
) -> None:
    """A replica beside it takes the next key; the server says so, and takes it when it is there."""
    old, new = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
    here, beside = tmp_path / "here", tmp_path / "beside"
    for folder in (here, beside):
        put(folder, old, HOUR)
    name = "VALETKEY_SIGNING_KEY_FOLDER"
    with ground.house() as house, serving(ground, **{name: str(here)}) as server:
        other = TurningKeys(KeyRing(KeyFiles(None, beside, (), HOUR), datetime.now(UTC)), HOUR)
        other.turn(house.broker)
        assert published(server)[0] == old.thumbprint()
        file = put(beside, new, timedelta(seconds=1))
        other.turn(house.broker)
        assert other.ring.kid == new.thumbprint()
        until_true(lambda: got(server, "/readyz").get("reasons") == ["keys"], 20)
        (here / "next.pem").write_text("garbage")
        look_again(server)
        until_true(lambda: "signing keys were refused" in server.log, 20)
        assert published(server)[0] == old.thumbprint()
        (here / "next.pem").unlink()
        (here / file.name).write_bytes(file.read_bytes())
        look_again(server)
        until_true(lambda: got(server, "/readyz") == {"status": "ready"}, 20)
        assert published(server)[0] == other.ring.kid
        assert set(published(server)) > other.ring.kids()  # and its own file, which signs no more
        assert other.problem(house.broker) is None
