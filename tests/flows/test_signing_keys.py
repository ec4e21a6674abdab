"""Stories of replicas and the keys they sign with: told once, and noticed where one is lacking."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from tests.flows.stories import facts
from valetkey.bootstrap.keys import TurningKeys
from valetkey.identity.key_ring import KeyFiles, KeyRing, file_name
from valetkey.testing.brokers import EPOCH, Stage

HOUR = timedelta(hours=1)
BEAT = timedelta(minutes=1)


class Replica:
    """One replica's folder of keys."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage, self.folder = stage, folder
        folder.mkdir()

    def put(self, raw: bytes, hours: int = 0) -> None:
        """A key that signs from so many hours after the beginning."""
        (self.folder / file_name(EPOCH + hours * HOUR)).write_bytes(raw)

    def opened(self) -> Replica:
        """It starts."""
        files = KeyFiles(None, self.folder, (), 8 * HOUR)
        self.keys = TurningKeys(KeyRing(files, self.stage.memory.time), BEAT)
        return self

    def problem(self) -> str | None:
        """What it says of itself after one turn."""
        self.keys.turn(self.stage.broker)
        return self.keys.problem(self.stage.broker)


@pytest.fixture
def pair(stage: Stage, tmp_path: Path) -> tuple[Replica, Replica]:
    """Two replicas with one key."""
    made = Replica(stage, tmp_path / "a"), Replica(stage, tmp_path / "b")
    raw = ECKey.generate_key("P-256").as_pem(private=True)
    for replica in made:
        replica.put(raw)
        replica.opened()
    return made


def test_a_replica_that_lacks_the_key_another_signs_with_says_so(
    stage: Stage, pair: tuple[Replica, Replica]
) -> None:
    """It names the key, until it has the file; the one that is ahead has no trouble."""
    ahead, behind = pair
    new = ECKey.generate_key("P-256")
    ahead.put(new.as_pem(private=True), hours=1)
    assert [replica.problem() for replica in pair] == [None, None]
    stage.memory.time += HOUR
    assert ahead.problem() is None
    assert new.thumbprint() in (behind.problem() or "")
    behind.put(new.as_pem(private=True), hours=1)
    assert [replica.problem() for replica in pair] == [None, None]


def test_a_stolen_key_that_was_taken_away_makes_nobody_unready(
    stage: Stage, pair: tuple[Replica, Replica]
) -> None:
    """A key that signs from now and the old file deleted: only who still signs with it is behind."""
    first, second = pair
    assert [replica.problem() for replica in pair] == [None, None]
    stage.memory.time += HOUR
    new = ECKey.generate_key("P-256").as_pem(private=True)
    first.put(new, hours=1)
    (first.folder / file_name(EPOCH)).unlink()
    assert first.problem() is None
    assert second.problem() is not None
    second.put(new, hours=1)
    (second.folder / file_name(EPOCH)).unlink()
    assert [replica.problem() for replica in pair] == [None, None]


def test_what_a_replica_said_is_forgotten_when_it_is_gone(
    stage: Stage, pair: tuple[Replica, Replica]
) -> None:
    """A replica with a key that nobody else has makes the others unready for two beats at most."""
    alone, other = pair
    alone.put(ECKey.generate_key("P-256").as_pem(private=True), hours=1)
    stage.memory.time += HOUR
    alone.problem()
    assert other.problem() is not None
    stage.memory.time += 2 * BEAT
    assert other.problem() is None


def test_each_turn_is_one_fact_for_all_replicas(
    stage: Stage, pair: tuple[Replica, Replica]
) -> None:
    """The key's id and time; looking again tells nothing."""
    for replica in pair:
        replica.put(ECKey.generate_key("P-256").as_pem(private=True), hours=1)
    raw = (pair[0].folder / file_name(EPOCH + HOUR)).read_bytes()
    pair[1].put(raw, hours=1)
    for _ in range(3):
        for replica in pair:
            replica.problem()
        stage.memory.time += timedelta(minutes=30)
    told = [found.fact.body for found in facts(stage, kind="SigningKeyTaken")]
    since = (EPOCH + HOUR).isoformat()
    assert [body["since"] for body in told] == [EPOCH.isoformat(), since]
    assert told[1]["kid"] == ECKey.import_key(raw).thumbprint()


def test_unusable_files_are_a_fact_and_an_alarm_once(
    stage: Stage, pair: tuple[Replica, Replica]
) -> None:
    """By the file's name, and none of its content; the old key signs on."""
    kid = pair[0].keys.ring.kid
    for replica in pair:
        (replica.folder / file_name(EPOCH + HOUR)).write_text("garbage")
    for _ in range(3):
        pair[0].problem()
    told = [found.fact for found in facts(stage, kind="SigningKeysRefused")]
    assert [fact.outcome for fact in told] == ["refused"]
    assert "does not hold an EC key" in str(told[0].body["problem"])
    assert "garbage" not in str(told[0])
    assert [what for what, _ in stage.alarms.alarms] == ["the newest signing keys were refused"]
    assert pair[0].keys.ring.kid == kid
