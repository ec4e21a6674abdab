"""Words for stories of rules in the store: the sample's files, and a job that pushes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import valetkey.devstack
from tests.flows.provisioning import JOB, RULE
from valetkey.bootstrap.rulebook import StoredRules, StoreRulebook
from valetkey.core.catalogue import Catalogue
from valetkey.core.principal import Caller
from valetkey.core.rules import Activation, Part
from valetkey.core.trust import TrustRule
from valetkey.flows.decide_rules import (
    RulesSeen,
    accept_rules,
    begin_rules,
    fresh_for_yes,
    look_at_rules,
    look_at_version,
    roll_back,
)
from valetkey.flows.push_rules import Pushed, RulesPlan, plan_rules, push_rules
from valetkey.policy.rule_files import Folders
from valetkey.policy.rules import ActiveRules
from valetkey.ports import Store
from valetkey.testing.brokers import Stage

SAMPLE = Folders.below(Path(valetkey.devstack.__file__).parent / "sample").files()
GROUPS = ("valetkey-approvers",)
RULES: frozenset[Part] = frozenset({"catalogue", "policies"})
PUSHES = replace(RULE, name="rules-ci", issuer="github", may_apply=RULES)
AT_ONCE = replace(PUSHES, name="rules-at-once", activate=True)
TRUSTED = {one.name: one for one in (RULE, PUSHES, AT_ONCE)}
PUSHER = replace(JOB, rule=PUSHES.name)
READ = "orders-db:read"


class RulesStage(Stage):
    """A stage whose rules are in its store, begun with the sample's; `unpinned` bars targets."""

    def __init__(self, store: Store | None = None, *, begun: bool = True) -> None:
        super().__init__(store)
        self.unpinned: dict[str, str] = {}
        self.minter.name = "openbao-database"
        self.active = ActiveRules(StoredRules(self.broker.store, GROUPS), self.gate)
        book = StoreRulebook(GROUPS, self.gate, self.active.number, lambda: None)
        made = {"openbao-database": self.minter}
        self.broker = replace(self.broker, rulebook=book, rules=self.active.current, minters=made)
        if begun:
            begin_rules(self.broker, SAMPLE, "opal", "the first")
            assert self.active.reload()

    def gate(self, catalogue: Catalogue) -> list[tuple[str, str]]:
        """What bars the targets of this catalogue."""
        return [(name, why) for name, why in self.unpinned.items() if name in catalogue.targets]

    def plan(self, files: dict[str, str], rule: TrustRule = PUSHES) -> RulesPlan:
        """The plan for these files."""
        return plan_rules(self.broker, PUSHER, rule, files)

    def push(self, files: dict[str, str], rule: TrustRule = PUSHES) -> Pushed:
        """A push on what is in force now."""
        seen = self.seen().activations[0].digest
        return push_rules(self.broker, PUSHER, rule, files, seen)

    def seen(self) -> RulesSeen:
        """What an operator sees."""
        return look_at_rules(self.broker, self.operator, None)

    def in_force(self) -> str:
        """The digest in force."""
        return self.seen().activations[0].digest

    def accept(self, pushed: Pushed, operator: Caller | None = None) -> Activation:
        """A yes to what was pushed, after a login for it."""
        assert pushed.proposal is not None
        fresh = self.fresh(operator or self.operator, fresh_for_yes(pushed.proposal))
        shown = pushed.proposal.shown_hash
        return accept_rules(self.broker, fresh, TRUSTED, pushed.proposal.id, shown)

    def back(self, digest: str) -> Activation:
        """A way back to a version, after a login for it."""
        named = look_at_version(self.broker, self.operator, digest).fresh_for
        fresh = self.fresh(self.operator, named or "nothing")
        return roll_back(self.broker, fresh, digest, "it was wrong")


def with_text(name: str, old: str, new: str, files: dict[str, str] | None = None) -> dict[str, str]:
    """The files with a change in one."""
    files = dict(files or SAMPLE)
    assert old in files[name], name
    return {**files, name: files[name].replace(old, new)}


SHORTER = with_text("catalogue/orders-db.yaml", "max_ttl: 15m", "max_ttl: 14m")
OTHERS = with_text("catalogue/orders-db.yaml", "max_ttl: 10m", "max_ttl: 9m")
