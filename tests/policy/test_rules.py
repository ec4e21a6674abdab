"""The rules in force: replaced as a whole, or the last good ones stay, loudly."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.policy.conftest import GROUPS, SAMPLE
from valetkey.core.catalogue import Catalogue
from valetkey.core.errors import NotReady
from valetkey.policy.checks import check, run_policy_tests
from valetkey.policy.problems import FilesInvalid
from valetkey.policy.rules import ActiveRules, Rules, load_rules


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A copy of the sample's catalogue and policies."""
    shutil.copytree(SAMPLE, tmp_path / "files")
    return tmp_path / "files"


def active(files: Path, **more: object) -> ActiveRules:
    """Rules in force from a folder."""
    return ActiveRules(
        lambda: load_rules(files / "catalogue", files / "policies", GROUPS),
        **more,  # type: ignore[arg-type]
    )


def test_a_good_change_is_taken_as_a_whole(files: Path) -> None:
    """Catalogue and policy of one version."""
    rules = active(files)
    before = rules.current()
    path = files / "catalogue" / "reports-api.yaml"
    path.write_text(path.read_text().replace("5m", "4m"))
    assert rules.reload()
    assert rules.current().version != before.version
    assert rules.current().policy.catalogue is rules.current().catalogue


@pytest.mark.parametrize("broken", ["catalogue/orders-db.yaml", "policies/refunds.cedar"])
def test_a_broken_file_leaves_the_last_good_rules_loudly(files: Path, broken: str) -> None:
    """Still deciding, and saying so; mended, it goes on."""
    rules = active(files)
    before = rules.current()
    text = (files / broken).read_text()
    (files / broken).write_text(text + "\nnonsense [")
    with capture_logs() as logs:
        assert not rules.reload()
    assert rules.current() is before
    assert [entry["log_level"] for entry in logs] == ["error"]
    assert broken in str(logs[0]["problems"])
    assert rules.problems
    (files / broken).write_text(text)
    assert rules.reload()
    assert rules.problems == ()


def test_a_folder_that_vanishes_leaves_the_last_good_rules(files: Path) -> None:
    """As does any other fault of reading."""
    rules = active(files)
    before = rules.current()
    shutil.rmtree(files / "catalogue")
    assert not rules.reload()
    assert rules.current() is before


def test_a_catalogue_whose_pins_are_not_seen_is_not_activated(files: Path) -> None:
    """At start nothing is active until a reload sees them; later the old version stays."""
    unseen = [("orders-db", "its pins are not seen")]

    def gate(catalogue: Catalogue) -> list[tuple[str, str]]:
        return unseen

    rules = active(files, gate=gate)
    assert [problem.file for problem in rules.missing] == ["orders-db"]
    with pytest.raises(NotReady):
        rules.current()
    unseen.clear()
    assert rules.reload()
    assert rules.missing == ()
    before = rules.current()
    unseen.append(("orders-db", "its pins are not seen"))
    path = files / "catalogue" / "orders-db.yaml"
    path.write_text(path.read_text().replace("max_ttl: 15m", "max_ttl: 14m"))
    assert not rules.reload()
    assert rules.current() is before


def test_nothing_is_active_without_good_files(files: Path) -> None:
    """A first version that is broken raises."""
    (files / "policies" / "tasks.cedar").write_text("permit")
    with pytest.raises(FilesInvalid):
        active(files)


@pytest.mark.parametrize("fault", [RecursionError, MemoryError, RuntimeError])
def test_a_fault_of_reading_at_start_leaves_a_replica_that_can_be_given_others(
    files: Path, fault: type[Exception]
) -> None:
    """It comes up without rules, says why, and takes the next that can be read."""
    faults = [fault("row 7 of the database")]

    def load() -> Rules:
        if faults:
            raise faults.pop()
        return load_rules(files / "catalogue", files / "policies", GROUPS)

    rules = ActiveRules(load)
    assert [str(why) for why in rules.missing] == [f"could not be read: {fault.__name__}"]
    with pytest.raises(NotReady):
        rules.current()
    assert rules.reload()
    assert rules.missing == ()


def test_readers_see_one_version_while_it_is_replaced(files: Path) -> None:
    """Catalogue and policy of one read always belong together."""
    rules = active(files)
    path = files / "catalogue" / "reports-api.yaml"
    text = path.read_text()
    torn: list[object] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            now = rules.current()
            if now.policy.catalogue is not now.catalogue:
                torn.append(now)

    reader = threading.Thread(target=look)
    reader.start()
    for minutes in range(1, 6):
        path.write_text(text.replace("5m", f"{minutes}m"))
        assert rules.reload()
    done.set()
    reader.join()
    assert torn == []


def test_the_sample_passes_its_own_checks_and_tests() -> None:
    """No problem, every case as told, and some of each outcome."""
    assert check(SAMPLE / "catalogue", SAMPLE / "policies", GROUPS) == []
    results = run_policy_tests(SAMPLE / "catalogue", SAMPLE / "policies", GROUPS)
    assert len(results) >= 10
    assert [result for result in results if not result.passed] == []


def test_a_case_that_is_not_as_told_says_how(files: Path) -> None:
    """Expected and got, with its file and line."""
    path = files / "policies" / "tests" / "refunds.yaml"
    path.write_text(path.read_text().replace("expect: allow", "expect: deny", 1))
    results = run_policy_tests(files / "catalogue", files / "policies", GROUPS)
    (failed,) = [result for result in results if not result.passed]
    assert failed.failure == "expected deny, got allow"
    assert (failed.file, failed.line) == (str(path), 2)


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("expect: allow", "expects: allow", "unknown key"),
        ("expect: allow", "expect: perhaps", "expect must be"),
        ("region=eu", "regoin=eu", "parameters"),
        ("region: eu", "region: no", "quote it"),
        ("agent:", "start_task: []\n    agent:", "either ask or start_task"),
    ],
)
def test_a_broken_test_file_is_a_problem_of_the_check(
    files: Path, old: str, new: str, part: str
) -> None:
    """A test that tests nothing must not pass."""
    path = files / "policies" / "tests" / "refunds.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    found = check(files / "catalogue", files / "policies", GROUPS)
    assert any(part in problem.message and problem.line for problem in found), found
