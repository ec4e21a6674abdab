"""Replicas whose rules are in the store, on real servers: begun, proven at OpenBao, followed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tests.faults.ground import Ground, signer
from tests.flows.rules import AT_ONCE, PUSHER
from valetkey.bootstrap import House, load_settings
from valetkey.bootstrap.house import build_house
from valetkey.cli.rules import rules
from valetkey.core.errors import RulesNotProven
from valetkey.core.principal import Caller, Principal
from valetkey.core.rules import Activation
from valetkey.flows.decide_rules import look_at_version, roll_back
from valetkey.flows.push_rules import plan_rules, push_rules
from valetkey.policy.rule_files import Folders

ORDERS = "catalogue/orders-db.yaml"


@pytest.fixture
def config(ground: Ground, tmp_path: Path) -> Path:
    """The ground's configuration, with rules from the store."""
    said = yaml.safe_load(ground.config.read_text())
    path = ground.folder / "stored.yaml"
    path.write_text(yaml.safe_dump({**said, "rules": {"source": "store"}}))
    return path


@contextmanager
def replica(config: Path) -> Iterator[House]:
    """One replica; it looks when it is told to."""
    settings = load_settings(config)
    house = build_house(settings, signer(settings.signing_key_file))
    try:
        yield house
    finally:
        house.close()


def pushed(house: House, files: dict[str, str]) -> Activation:
    """A push by a job whose rule needs nobody."""
    seen = plan_rules(house.broker, PUSHER, AT_ONCE, files).digest
    made = push_rules(house.broker, PUSHER, AT_ONCE, files, seen).activation
    assert made is not None
    return made


def test_replicas_follow_what_is_proven_at_openbao(ground: Ground, config: Path) -> None:
    """Unready before the first version; then each follows, refuses what is not pinned, goes back."""
    files = Folders(ground.folder / "catalogue", ground.folder / "policies").files()
    with replica(config) as first, replica(config) as second:
        assert any("rules init" in trouble for trouble in first.problems())
        begun = CliRunner().invoke(rules, ["init", "--by", "opal", "--config", str(config)])
        assert begun.exit_code == 0, begun.output
        first.clockwork.upkeep()
        second.clockwork.upkeep()
        assert first.problems() == second.problems() == []
        shorter = files[ORDERS].replace("max_ttl: 15m", "max_ttl: 14m", 1)
        with pytest.raises(RulesNotProven, match="orders-db"):
            pushed(first, {**files, ORDERS: shorter})
        words = files[ORDERS].replace("Read the orders", "Look at the orders", 1)
        assert words != files[ORDERS]
        made = pushed(first, {**files, ORDERS: words})
        assert (made.number, second.rules.number()) == (2, 1)
        second.clockwork.upkeep()
        assert second.rules.number() == 2
        assert (
            "Look at" in second.broker.rules().catalogue.targets["orders-db"].scopes["read"].summary
        )
        operator = Caller(
            kind="person",
            principal=Principal("https://people", "opal"),
            jkt="key",
            expires_at=second.store.now(),
            token_id="t",
            roles=frozenset({"operator"}),
            auth_time=second.store.now(),
        )
        with second.store.transaction() as tx:
            oldest = tx.activations(10)[-1].digest
        named = look_at_version(second.broker, operator, oldest).fresh_for
        fresh = replace(operator, fresh_for=named)
        assert roll_back(second.broker, fresh, oldest, "it was wrong").number == 3
        first.clockwork.upkeep()
        assert first.rules.number() == 3
    with replica(config) as third:
        assert third.rules.number() == 3
        assert third.problems() == []
