"""`/v1/rules`: versions of catalogue and policies, pushed by jobs and decided on by people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from valetkey.core.proposal import OPEN, ProposalState
from valetkey.core.rules import Activation, RulesProposal
from valetkey.flows import decide_rules as decide
from valetkey.flows.push_rules import RulesPlan, plan_rules, push_rules
from valetkey.web.api import rules_answers as answers
from valetkey.web.api import shapes
from valetkey.web.api.asks import ReturnAsk, RulesAsk, Verdict
from valetkey.web.auth import CIOrPerson, PacedCI, Person, Room
from valetkey.web.bodies import Nothing, reads
from valetkey.web.desk import At
from valetkey.web.paper import answers as responses
from valetkey.web.paper import takes
from valetkey.web.queries import if_match, path_digest, path_id

router = APIRouter(prefix="/v1/rules", tags=["rules"])


@router.get("", responses=responses(s200=answers.RulesList))
def rules(caller: CIOrPerson, desk: At) -> JSONResponse:
    """What is in force and was, what is proposed, and what this replica serves."""
    found = decide.look_at_rules(desk.broker, caller, desk.rule_of(caller))
    version = found.activations[0].digest if found.activations else None
    return JSONResponse(
        {
            "version": version,
            "serves": found.serves,
            "activations": [_activation(one) for one in found.activations],
            "proposals": [_proposed(one, version) for one in found.proposals],
        }
    )


@router.post(
    "/plan", responses=responses(s200=answers.RulesPlanned), openapi_extra=takes(RulesAsk)
)
def plan(
    caller: PacedCI, asked: Annotated[RulesAsk, Depends(reads(RulesAsk))], desk: At, _: Room
) -> JSONResponse:
    """What these files would change, with the recorded asks that would be answered otherwise."""
    found = plan_rules(desk.broker, caller, desk.rule_of(caller), asked.files)
    return JSONResponse(_planned(found))


@router.put(
    "",
    responses=responses(s200=answers.RulesPushed, s202=answers.RulesPushed),
    openapi_extra=takes(RulesAsk, headers={"If-Match": True}),
)
def push(
    caller: PacedCI,
    asked: Annotated[RulesAsk, Depends(reads(RulesAsk))],
    desk: At,
    _: Room,
    request: Request,
) -> JSONResponse:
    """Make the rules equal to these files; 202 when an operator must accept them first."""
    seen = if_match(request, required=True) or ""
    done = push_rules(desk.broker, caller, desk.rule_of(caller), asked.files, seen)
    made = _activation(done.activation) if done.activation else None
    body = {"version": done.version, "activation": made, **_waiting(done.proposal)}
    return JSONResponse(body, 202 if done.proposal else 200)


@router.get("/versions/{version}", responses=responses(s200=answers.RulesVersionShown))
def version(version: str, caller: Person, desk: At) -> JSONResponse:
    """One version, with its files."""
    found = decide.look_at_version(desk.broker, caller, path_digest(version))
    one = found.version
    return JSONResponse(
        {
            "version": one.digest,
            "files": dict(one.files),
            "catalogue_digest": one.catalogue_digest,
            "policy_hash": one.policy_hash,
            "pushed_by": one.pushed_by,
            "rule": one.rule,
            "pushed_at": one.pushed_at.isoformat(),
            "fresh_for": found.fresh_for,
        }
    )


@router.post(
    "/versions/{version}/activate",
    responses=responses(s200=answers.RulesActivation),
    openapi_extra=takes(ReturnAsk),
)
def activate(
    version: str,
    caller: Person,
    asked: Annotated[ReturnAsk, Depends(reads(ReturnAsk))],
    desk: At,
    _: Room,
) -> JSONResponse:
    """Go back to a version that was in force before, with a login fresh for it."""
    digest = path_digest(version)
    return JSONResponse(_activation(decide.roll_back(desk.broker, caller, digest, asked.reason)))


@router.post(
    "/proposals/{proposal_id}/accept",
    responses=responses(s200=answers.RulesActivation),
    openapi_extra=takes(Verdict),
)
def accept(
    proposal_id: str,
    caller: Person,
    asked: Annotated[Verdict, Depends(reads(Verdict))],
    desk: At,
    _: Room,
) -> JSONResponse:
    """Say yes to exactly what was shown, with a login fresh for it; it is in force then."""
    trusted, name = desk.doors.trust_rules, path_id("proposal", proposal_id)
    made = decide.accept_rules(desk.broker, caller, trusted, name, asked.shown_hash)
    return JSONResponse(_activation(made))


@router.post(
    "/proposals/{proposal_id}/refuse",
    responses=responses(s200=answers.RulesProposed),
    openapi_extra=takes(Nothing),
)
def refuse(
    proposal_id: str, caller: Person, _: Annotated[Nothing, Depends(reads(Nothing))], desk: At
) -> JSONResponse:
    """Say no; the same is not proposed again, and may still be accepted."""
    refused = decide.refuse_rules(desk.broker, caller, path_id("proposal", proposal_id))
    return JSONResponse(_proposed(refused, refused.base))


def _activation(one: Activation) -> shapes.Json:
    return {
        "number": one.number,
        "version": one.digest,
        "cause": one.cause.value,
        "by": one.by,
        "at": one.at.isoformat(),
        "reason": one.reason,
    }


def _proposed(one: RulesProposal, in_force: str | None) -> shapes.Json:
    return {
        "id": one.id,
        "version": one.digest,
        "base": one.base,
        "rule": one.rule,
        "state": one.state.value,
        "current": one.base == in_force,
        "created_by": one.created_by,
        "created_at": one.created_at.isoformat(),
        "decided_by": one.decided_by,
        "decided_at": one.decided_at.isoformat() if one.decided_at else None,
        "shown_hash": one.shown_hash,
        "fresh_for": decide.fresh_for_yes(one) if one.state in OPEN else None,
    }


def _planned(found: RulesPlan) -> shapes.Json:
    leases = (found.leases or {}).items()
    return {
        "digest": found.digest,
        "version": found.version,
        "waits": found.waits,
        "changes": [{"what": one.what, "part": one.part} for one in found.changes],
        "unproven": [{"target": name, "why": why} for name, why in found.unproven],
        "leases_losing_scope": [{"scope": scope, "leases": count} for scope, count in leases],
        "replayed": found.replayed,
        "verdicts": [dict(vars(one)) for one in found.verdicts],
        **_waiting(found.proposal),
    }


def _waiting(proposal: RulesProposal | None) -> shapes.Json:
    refused = proposal is not None and proposal.state is ProposalState.REFUSED
    return {"proposal": proposal.id if proposal else None, "refused": refused}
