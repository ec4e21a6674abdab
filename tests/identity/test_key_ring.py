"""Rotation: each file says from when its key signs, and the clock does the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt as pyjwt
import pytest
from joserfc.jwk import ECKey

from tests.identity.test_tokens import CALLER, US
from valetkey.core.errors import Unauthenticated
from valetkey.identity.key_ring import KeyFiles, KeyRing, file_name
from valetkey.identity.tokens import AccessTokens

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEPT = timedelta(hours=8)


def put(folder: Path, signs_from: datetime) -> str:
    """A new key in the folder; its id."""
    key = ECKey.generate_key("P-256")
    (folder / file_name(signs_from)).write_bytes(key.as_pem(private=True))
    return key.thumbprint()


def files(folder: Path, first: Path | None = None, *retired: Path) -> KeyFiles:
    """The files of one replica."""
    return KeyFiles(first, folder, retired, KEPT)


def published(ring: KeyRing) -> list[str]:
    """The ids in the published set, in its order."""
    listed = ring.jwks()["keys"]
    assert isinstance(listed, list)
    return [key["kid"] for key in listed]


def test_a_key_is_published_before_it_signs_and_until_its_last_token_is_over(
    tmp_path: Path,
) -> None:
    """Next, signs, verifies, over: by the clock, with nothing moved or restarted."""
    old, new = put(tmp_path, NOON), put(tmp_path, NOON + 2 * HOUR)
    ring = KeyRing(files(tmp_path), NOON + HOUR)
    assert published(ring) == [old, new]
    ring.turn(NOON + 2 * HOUR - timedelta(seconds=1))
    assert (ring.kid, ring.since) == (old, NOON)
    ring.turn(NOON + 2 * HOUR)
    assert (ring.kid, published(ring)) == (new, [new, old])
    ring.turn(NOON + 2 * HOUR + KEPT - timedelta(seconds=1))
    assert published(ring) == [new, old]
    ring.turn(NOON + 2 * HOUR + KEPT)
    assert published(ring) == [new]


def test_tokens_of_both_keys_verify_during_a_rotation_and_for_unmodified_clients(
    tmp_path: Path,
) -> None:
    """Signed before and after the turn; a library that knows only our key set takes both."""
    put(tmp_path, NOON)
    put(tmp_path, NOON + HOUR)
    ring = KeyRing(files(tmp_path), NOON)
    tokens = AccessTokens(US, ring)
    now = CALLER.expires_at - timedelta(seconds=200)
    before = tokens.issue(CALLER, now)
    ring.turn(NOON + HOUR)
    after = tokens.issue(CALLER, now)
    known = pyjwt.PyJWKSet.from_dict(dict(ring.jwks()))
    for token in (before, after):
        assert tokens.verify(token, now) == CALLER
        key = known[pyjwt.get_unverified_header(token)["kid"]]
        said = pyjwt.decode(
            token, key, ["ES256"], audience=US, options={"verify_exp": False, "verify_nbf": False,
                                                         "verify_iat": False}
        )
        assert said["iss"] == US
    ring.turn(NOON + HOUR + KEPT)
    with pytest.raises(Unauthenticated):
        tokens.verify(before, now)


def test_two_replicas_in_steps_never_refuse_each_others_tokens(tmp_path: Path) -> None:
    """One sees the file late and turns late: in between either takes what the other signs."""
    early, late = tmp_path / "early", tmp_path / "late"
    for folder in (early, late):
        folder.mkdir()
    put(early, NOON)
    (late / file_name(NOON)).write_bytes((early / file_name(NOON)).read_bytes())
    rings = {folder: KeyRing(files(folder), NOON) for folder in (early, late)}
    new = put(early, NOON + HOUR)
    now = CALLER.expires_at - timedelta(seconds=200)
    for minutes in range(0, 120, 5):
        at = NOON + timedelta(minutes=minutes)
        if minutes == 50:
            (late / file_name(NOON + HOUR)).write_bytes(
                (early / file_name(NOON + HOUR)).read_bytes()
            )
        for folder, ring in rings.items():
            if folder is early or minutes % 10 == 0:
                ring.turn(at)
        signed = [AccessTokens(US, ring).issue(CALLER, now) for ring in rings.values()]
        for ring in rings.values():
            assert [AccessTokens(US, ring).verify(token, now) for token in signed]
    assert {ring.kid for ring in rings.values()} == {new}


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        (file_name(NOON), b"garbage"),
        (file_name(NOON + HOUR), b""),
        ("next.pem", ECKey.generate_key("P-256").as_pem(private=True)),
        ("20261340T990000Z.pem", ECKey.generate_key("P-256").as_pem(private=True)),
        (file_name(NOON + HOUR), ECKey.generate_key("P-256").as_pem(private=False)),
        (file_name(NOON + HOUR), ECKey.generate_key("P-384").as_pem(private=True)),
        (file_name(NOON).replace("pem", "jwk"), ECKey.generate_key("P-256").as_pem(private=True)),
    ],
    ids=["garbage", "empty", "no time", "no such time", "public", "P-384", "same instant"],
)
def test_files_that_cannot_be_used_leave_the_keys_read_before(
    tmp_path: Path, name: str, raw: bytes
) -> None:
    """What is wrong is said, without a word of the content, and tokens go on."""
    kid = put(tmp_path, NOON)
    ring = KeyRing(files(tmp_path), NOON)
    (tmp_path / name).write_bytes(raw)
    problem = ring.turn(NOON + HOUR)
    assert problem is not None
    assert "BEGIN" not in problem
    assert "garbage" not in problem
    assert published(ring) == [kid]
    with pytest.raises(ValueError, match=r".+"):
        KeyRing(files(tmp_path), NOON + HOUR)


def test_a_replica_whose_files_went_away_still_turns(tmp_path: Path) -> None:
    """The keys that were read know their times; a folder that is gone takes none of them."""
    folder = tmp_path / "keys"
    folder.mkdir()
    put(folder, NOON)
    new = put(folder, NOON + HOUR)
    ring = KeyRing(files(folder), NOON)
    folder.rename(tmp_path / "moved")
    assert ring.turn(NOON + HOUR) is not None
    assert ring.kid == new


def test_no_key_whose_time_has_come_is_no_start(tmp_path: Path) -> None:
    """Rather than one that signs too early."""
    put(tmp_path, NOON + HOUR)
    with pytest.raises(ValueError, match="no signing key's time has come"):
        KeyRing(files(tmp_path), NOON)


def test_a_key_that_was_stolen_is_gone_once_its_file_is(tmp_path: Path) -> None:
    """Deleting the file ends what it signed, whatever its time says."""
    put(tmp_path, NOON)
    ring = KeyRing(files(tmp_path), NOON)
    put(tmp_path, NOON + timedelta(minutes=1))
    (tmp_path / file_name(NOON)).unlink()
    assert ring.turn(NOON + timedelta(minutes=1)) is None
    assert len(published(ring)) == 1
    assert ring.since == NOON + timedelta(minutes=1)


def test_one_moves_from_a_single_file_to_a_folder(tmp_path: Path) -> None:
    """The single file signs until the first timed key does; it may lie in the folder as well."""
    first = tmp_path / "key.pem"
    key = ECKey.generate_key("P-256")
    first.write_bytes(key.as_pem(private=True))
    retired = tmp_path.parent / f"{tmp_path.name}-retired.pem"
    retired.write_bytes(ECKey.generate_key("P-256").as_pem(private=False))
    (tmp_path / "..data").mkdir()
    new = put(tmp_path, NOON + HOUR)
    ring = KeyRing(files(tmp_path, first, retired), NOON)
    assert (ring.kid, ring.since) == (key.thumbprint(), None)
    assert len(published(ring)) == 3
    ring.turn(NOON + HOUR)
    assert ring.kid == new
    assert len(published(ring)) == 3
    ring.turn(NOON + HOUR + KEPT)
    assert len(published(ring)) == 2
