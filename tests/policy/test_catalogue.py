"""The catalogue's files: loaded as a whole, or refused with every file and line."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.policy.conftest import SAMPLE
from valetkey.core.catalogue import Catalogue
from valetkey.core.scope import Scope
from valetkey.minters.pins import openbao_policy
from valetkey.policy.catalogue import load_catalogue
from valetkey.policy.checks import check_catalogue
from valetkey.policy.problems import CatalogueInvalid, Problem


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the sample catalogue to be spoilt."""
    copy = tmp_path / "catalogue"
    shutil.copytree(SAMPLE / "catalogue", copy)
    return copy


def change(path: Path, old: str, new: str) -> None:
    """Replace the first `old` in a file; it must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def faults(folder: Path) -> list[Problem]:
    """Everything wrong; at least one thing must be."""
    found = check_catalogue(folder)
    assert found
    return found


def test_the_sample_catalogue_loads(catalogue: Catalogue) -> None:
    """Four targets of three minters, with their times and lanes."""
    assert set(catalogue.targets) == {"orders-db", "reports-api", "archive-api", "orders-exports"}
    orders = catalogue.targets["orders-db"]
    assert orders.connections == ("orders-0", "orders-1", "orders-2", "orders-3")
    assert orders.scopes["write"].mutates
    assert orders.scopes["write"].max_ttl == timedelta(minutes=10)
    assert catalogue.targets["reports-api"].introspects
    assert not catalogue.targets["archive-api"].introspects
    assert catalogue.find(Scope.parse("orders-db:read{region=eu}")).catalogue_digest


def test_the_digest_is_of_the_meaning(folder: Path, catalogue: Catalogue) -> None:
    """A comment changes nothing; a longer TTL does."""
    path = folder / "orders-db.yaml"
    path.write_text("# another comment\n" + path.read_text())
    assert load_catalogue(folder).digest == catalogue.digest
    change(path, "max_ttl: 15m", "max_ttl: 14m")
    assert load_catalogue(folder).digest != catalogue.digest


ORDERS_FAULTS = {
    "unknown key": ("mount: database-orders", "mounts: database-orders", 9, "unknown key 'mounts'"),
    "missing": ("mount: database-orders\n", "", 2, "mount is missing"),
    "minter": ("openbao-database", "openbao-databass", 3, "minter must be one of"),
    "duplicate": ("environment: production", "minter: openbao-database", 4, "duplicate key"),
    "tag": ("owner: ", "owner: !!str ", 6, "tags"),
    "ttl": ("max_ttl: 15m", "max_ttl: 900", 18, "max_ttl must be"),
    "ttl zero": ("max_ttl: 15m", "max_ttl: 0m", 18, "max_ttl must be"),
    "life short": ("max_ttl: 15m", "max_ttl: 15m\n    max_life: 14m", 19, "max_life is below"),
    "life huge": ("max_ttl: 15m", "max_ttl: 15m\n    max_life: 13h", 19, "or over 12h"),
    "ack late": ("max_ttl: 15m", "max_ttl: 15m\n    ack_within: 11m", 19, "ack_within is over"),
    "sealed how": ("max_ttl: 15m", "max_ttl: 15m\n    sealed: optional", 19, "sealed must be"),
    "sealed yes": ("max_ttl: 15m", "max_ttl: 15m\n    sealed: true", 19, "sealed must be"),
    "ttl huge": ("max_ttl: 15m", "max_ttl: 13h", 18, "over 12h"),
    "mutates": ("mutates: false", "mutates: 'false'", 15, "true or false"),
    "port": ("port: 5432", "port: '5432'", 7, "whole number"),
    "port range": ("port: 5432", "port: 99999", 7, "between 1 and 65535"),
    "sslmode": ("sslmode: disable", "sslmode: prefer", 7, "sslmode"),
    "enum twice": ("enum: [eu, us]", "enum: [eu, eu]", 17, "twice"),
    "enum empty": ("enum: [eu, us]", "enum: []", 17, "1 to"),
    "enum quote": ("enum: [eu, us]", "enum: ['e\"u', us]", 17, "cannot be written"),
    "enum norway": ("enum: [eu, us]", "enum: [no, us]", 17, "quote it"),
    "kind": ("{enum: [eu, us]}", "{kind: sql}", 17, "kind must be one of"),
    "identifier": ("{enum: [eu, us]}", "{kind: identifier}", 19, "must be an enum"),
    "no limit": ("CONNECTION LIMIT 4 ", "", 19, "lacks CONNECTION LIMIT"),
    "lane": ("orders-1,", "orders-0,", 9, "twice"),
    "probe text": ("scopes:", "probe: read region\nscopes:", 12, "not one of the scopes"),
    "probe unknown": ("scopes:", "probe: drop\nscopes:", 12, "not one of the scopes"),
    "probe incomplete": ("scopes:", "probe: read\nscopes:", 12, "exactly these parameters"),
    "probe value": ("scopes:", "probe: read{region=mars}\nscopes:", 12, "not a valid enum"),
    "probe mutates": ("scopes:", "probe: write{region=eu}\nscopes:", 12, "mutates"),
    "list": ("data_classes: [pii]", "data_classes: pii", 5, "must be a list"),
    "version": ("server_version: 17", "server_version: 15", 20, "IN ROLE"),
    "name": ("target: orders-db", "target: Orders DB", 2, "not well formed"),
    "dollar": ("orders_${region}_reader", "orders_${regio}_reader", 19, "does not have"),
    "revocation": (
        "    max_ttl: 15m",
        "    max_ttl: 15m\n    revocation_statements: ['DROP ROLE IF EXISTS \"{{name}}\"']",
        19,
        "revocation_statements lack",
    ),
}


@pytest.mark.parametrize("name", ORDERS_FAULTS)
def test_each_fault_is_told_with_file_and_line(folder: Path, name: str) -> None:
    """The line is that of the key or value at fault, near enough to see it."""
    old, new, line, part = ORDERS_FAULTS[name]
    path = folder / "orders-db.yaml"
    change(path, old, new)
    found = [problem for problem in faults(folder) if part in problem.message]
    assert found, faults(folder)
    assert found[0].file == str(path)
    assert abs(found[0].line - line) <= 1, found


def test_a_probe_is_a_scope_with_all_its_parameters(folder: Path, catalogue: Catalogue) -> None:
    """It is read with its target's name, and only its being there changes the digest."""
    assert catalogue.targets["orders-db"].probe is None
    change(folder / "orders-db.yaml", "scopes:", "probe: read{region=eu}\nscopes:")
    loaded = load_catalogue(folder)
    assert loaded.targets["orders-db"].probe == Scope.parse("orders-db:read{region=eu}")
    assert loaded.digest != catalogue.digest


def test_what_cannot_be_ended_at_once_is_not_probed(folder: Path) -> None:
    """A token that works until its time is over would be made each minute and left to live."""
    change(folder / "archive-api.yaml", "scopes:", "probe: fetch\nscopes:")
    assert [x.message for x in faults(folder)] == [
        "probe: what this minter makes cannot be ended at once"
    ]


def test_all_faults_are_told_at_once_and_nothing_is_loaded(folder: Path) -> None:
    """Whoever mends it sees everything in one go."""
    change(folder / "orders-db.yaml", "max_ttl: 15m", "max_ttl: soon")
    change(folder / "reports-api.yaml", "introspects: true", "introspects: 1")
    change(folder / "archive-api.yaml", "minter: signed-token", "minter: magic")
    with pytest.raises(CatalogueInvalid) as caught:
        load_catalogue(folder)
    assert len({problem.file for problem in caught.value.problems}) == 3


@pytest.mark.parametrize(
    ("what", "old", "new"),
    [
        ("target", "target: archive-api", "target: reports-api"),
        ("audience", "https://archive.example.com", "https://reports.example.com"),
    ],
)
def test_two_targets_share_no_name_and_no_audience(
    folder: Path, what: str, old: str, new: str
) -> None:
    """A token for one must not be good at the other."""
    change(folder / "archive-api.yaml", old, new)
    assert any(problem.message.startswith(what) for problem in faults(folder))


def test_two_database_targets_share_no_mount(folder: Path) -> None:
    """One mount per target: revoking and limits go by mount."""
    text = (folder / "orders-db.yaml").read_text()
    (folder / "other.yaml").write_text(text.replace("target: orders-db", "target: other-db"))
    assert any("mount database-orders" in problem.message for problem in faults(folder))


def test_a_signed_token_target_takes_no_statements(folder: Path) -> None:
    """Keys of another minter are unknown keys."""
    change(folder / "reports-api.yaml", "introspects: true", "introspects: true\nmount: x")
    assert any("unknown key 'mount'" in problem.message for problem in faults(folder))


@pytest.mark.parametrize("name", ["orders.yml", "notes.txt", "folder"])
def test_a_stray_file_is_refused(folder: Path, name: str) -> None:
    """A target that is silently not read would be a trap."""
    (folder / name).mkdir() if name == "folder" else (folder / name).write_text("x")
    assert any(problem.file.endswith(name) for problem in faults(folder))


def test_hidden_entries_are_left_alone(folder: Path, catalogue: Catalogue) -> None:
    """A mounted configuration brings `..data` folders with it."""
    (folder / "..data").mkdir()
    assert load_catalogue(folder).digest == catalogue.digest


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    """No catalogue is not an empty catalogue."""
    assert "holds no target" in faults(tmp_path)[0].message
    assert "is not a folder" in faults(tmp_path / "none")[0].message


_PLAIN_WORDS = {"n", "no", "on", "off", "none", "kind", "enum"}
_keys = st.text("abcdefghijklmnop", min_size=1, max_size=12).filter(
    lambda key: key not in _PLAIN_WORDS
)


@given(key=_keys, at=st.sampled_from(["top", "scope", "parameter"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_an_unknown_key_always_has_file_and_line(tmp_path: Path, key: str, at: str) -> None:
    """At every height."""
    text = (SAMPLE / "catalogue" / "reports-api.yaml").read_text()
    anchor, inside = {
        "top": ("scopes:\n", f"{key}: x\nscopes:\n"),
        "scope": ("    mutates", f"    {key}: x\n    mutates"),
        "parameter": ("{enum: [daily, monthly]}", f"{{enum: [daily, monthly], {key}: x}}"),
    }[at]
    path = tmp_path / "reports-api.yaml"
    path.write_text(text.replace(anchor, inside, 1))
    line = path.read_text()[: path.read_text().index(f"{key}: x")].count("\n") + 1
    assert Problem(str(path), line, f"unknown key {key!r}") in faults(tmp_path)


def test_a_longer_life_and_an_acknowledgement_are_read_and_change_the_digest(
    folder: Path, catalogue: Catalogue
) -> None:
    """A catalogue without them has the digest it had before there were any."""
    change(folder / "orders-db.yaml", "max_ttl: 15m", "max_ttl: 15m\n    max_life: 4h\n    ack_within: 30s")
    found = load_catalogue(folder)
    read = found.targets["orders-db"].scopes["read"]
    assert (read.longest, read.ack_within) == (timedelta(hours=4), timedelta(seconds=30))
    assert catalogue.targets["orders-db"].scopes["read"].longest == timedelta(minutes=15)
    assert found.digest != catalogue.digest


def test_what_must_be_sealed_says_so_and_changes_the_digest(
    folder: Path, catalogue: Catalogue
) -> None:
    """A catalogue in which nothing must be has the digest it had before there was any."""
    change(folder / "orders-db.yaml", "max_ttl: 15m", "max_ttl: 15m\n    sealed: required")
    found = load_catalogue(folder)
    assert found.targets["orders-db"].scopes["read"].sealed == "required"
    assert catalogue.targets["orders-db"].scopes["read"].sealed is None
    assert found.digest != catalogue.digest


def test_a_longer_life_is_what_the_role_is_pinned_to(folder: Path) -> None:
    """The engine must let renewals reach it; each TTL stays the asked one."""
    change(folder / "orders-db.yaml", "max_ttl: 15m", "max_ttl: 15m\n    max_life: 4h")
    policy = openbao_policy(load_catalogue(folder), ("orders-db",), "abcdefe1")
    assert '"max_ttl" = ["14400s"]' in policy


def test_what_cannot_be_renewed_has_no_longer_life(folder: Path) -> None:
    """A signed token stands as it is."""
    change(folder / "archive-api.yaml", "max_ttl: 2m", "max_ttl: 2m\n    max_life: 1h")
    assert "is not renewed" in faults(folder)[0].message
