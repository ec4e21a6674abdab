"""The rules' part of `valetkey apply`: files made into a version, planned, then pushed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from valetkey.cli.desk import DONE, REFUSED, WAITING, Desk, poll

COLUMNS = ("what", "part", "then")
AT_ONCE, WAITS, NO, NOTHING = (
    "at once",
    "waits for a person",
    "refused by a person",
    "nothing to do",
)
CHANGED, FOLLOWED = "in force", 20.0
Json = dict[str, Any]


@dataclass(frozen=True)
class RulesReport:
    """The broker's plan for a version, and what came of it."""

    plan: Json
    then: str

    @property
    def code(self) -> int:
        """How the command exits for this part."""
        return {NO: REFUSED, WAITS: WAITING}.get(self.then, DONE)

    def document(self) -> Json:
        """The same for machines."""
        return {**self.plan, "then": self.then}

    def tell(self, desk: Desk) -> None:
        """The same for people: changes, what stands against them, what would be otherwise."""
        plan, screen = self.plan, desk.screen
        if plan["changes"]:
            lines = [{**change, "then": self.then} for change in plan["changes"]]
            screen.listed(self.document(), COLUMNS, lines)
        elif self.then != NOTHING:
            screen.say(f"Texts that change no rule: {self.then}.")
        for one in plan["leases_losing_scope"]:
            leases, scope = one["leases"], one["scope"]
            screen.aside(f"{scope}: {leases} leases live and end as they would have")
        for one in plan["unproven"]:
            screen.aside(f"{one['target']}: {one['why']}")
        for one in plan["verdicts"]:
            was, becomes = one["was"], one["becomes"]
            screen.aside(f"{one['ask']}: {was} becomes {becomes} ({one['count']} asked lately)")
        if self.then == WAITS:
            screen.aside("An operator decides: valetkey rules list")


def rules_applied(desk: Desk, files: Mapping[str, str], only_plan: bool) -> RulesReport:
    """Plan a push of these files, and push them unless they are only to be planned."""
    plan: Json = desk.post("/v1/rules/plan", {"files": dict(files)})
    if only_plan:
        return RulesReport(plan, _expected(plan))
    seen = {"If-Match": f'"{plan["digest"]}"'}
    done = desk.broker.call("PUT", "/v1/rules", json={"files": dict(files)}, headers=seen).body
    if done["activation"] is not None:
        _followed(desk, done["activation"]["number"])
        return RulesReport(plan, CHANGED)
    if done["proposal"] is None:
        return RulesReport(plan, NOTHING)
    return RulesReport({**plan, "proposal": done["proposal"]}, NO if done["refused"] else WAITS)


def _expected(plan: Json) -> str:
    if plan["digest"] == plan["version"]:
        return NOTHING
    if plan["refused"]:
        return NO
    return WAITS if plan["waits"] else AT_ONCE


def _followed(desk: Desk, number: int) -> None:
    """Wait until the replica that answers serves it: agents may need its scopes."""

    def serves() -> int:
        return int(desk.get("/v1/rules")["serves"] or 0)

    if poll(serves, lambda seen: seen >= number, FOLLOWED) < number:
        desk.screen.aside("The broker does not serve it yet: valetkey rules list")
