"""`valetkey keys`: made ahead of time, private, and each one's standing told."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import Terminal
from valetkey.identity.key_ring import file_name


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A user without any profile, and a configuration with a folder of keys."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "valetkey.yaml").write_text(
        "external_url: https://valetkey.example.com\n"
        "signing_key_folder: keys\n"
        "fingerprint_key_file: f\n"
        "database: {url_file: u}\n"
    )
    return Terminal(tmp_path / "home", {"VALETKEY_CONFIG": str(tmp_path / "valetkey.yaml")})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where keys are."""
    return tmp_path / "keys"


def test_a_rotation_is_one_command_and_its_status_tells_each_step(
    terminal: Terminal, folder: Path
) -> None:
    """The first key, the next one, and what was over: each with what to do now."""
    first = terminal.json("keys", "new", "--in", str(folder), "--now")
    told = terminal.json("keys", "status")
    assert [key["stage"] for key in told["keys"]] == ["signs"]
    assert told["to_do"] == ["to rotate: valetkey keys new --in FOLDER"]
    following = terminal.json("keys", "new", "--in", str(folder), "--after", "2h")
    told = terminal.json("keys", "status")
    assert [(key["kid"], key["stage"]) for key in told["keys"]] == [
        (first["kid"], "signs"),
        (following["kid"], "next"),
    ]
    assert told["to_do"] == []
    long_ago = datetime.now(UTC) - timedelta(days=2)
    (folder / Path(first["file"]).name).rename(folder / file_name(long_ago))
    (folder / Path(following["file"]).name).rename(folder / file_name(long_ago + timedelta(days=1)))
    told = terminal.json("keys", "status")
    assert [key["stage"] for key in told["keys"]] == ["over", "signs"]
    assert told["to_do"][0].startswith(f"{file_name(long_ago)} may be deleted")
    assert "verifies_until" in terminal.run("keys", "status").stdout.replace(" ", "_")


def test_a_key_is_private_and_is_shown_by_its_id_only(terminal: Terminal, folder: Path) -> None:
    """Mode 0600 from the first byte, and nothing of it on the screen."""
    done = terminal.run("keys", "new", "--in", str(folder), "--now")
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "BEGIN" not in done.output
    assert path.read_text().split()[5] not in done.output


def test_a_key_that_would_sign_before_all_have_it_is_not_made(
    terminal: Terminal, folder: Path
) -> None:
    """Ten minutes at least, or said outright."""
    done = terminal.run("keys", "new", "--in", str(folder), "--after", "5m")
    assert done.exit_code == 2
    assert list(folder.iterdir()) == []


def test_a_status_without_keys_or_with_a_broken_one_says_what_is_wrong(
    terminal: Terminal, folder: Path
) -> None:
    """An empty folder signs nothing; a file that is no key is named."""
    assert "no key signs yet" in terminal.json("keys", "status")["to_do"][0]
    (folder / file_name(datetime.now(UTC))).write_text("garbage")
    done = terminal.run("keys", "status")
    assert done.exit_code == 2
    assert "does not hold an EC key" in done.stderr


def test_a_configuration_without_any_signing_key_is_refused(
    terminal: Terminal, tmp_path: Path
) -> None:
    """By what is missing."""
    config = tmp_path / "valetkey.yaml"
    config.write_text(config.read_text().replace("signing_key_folder: keys\n", ""))
    done = terminal.run("keys", "status")
    assert done.exit_code == 2
    assert "signing_key_folder" in done.stderr
