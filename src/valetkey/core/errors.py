"""The closed catalogue of refusals: one class per thing the caller should do differently.

The first line of each docstring is the public sentence; `code` is stable API; `next_action`
says what to do now. Nothing here knows HTTP: `web/problems.py` maps each class to a status, and
a house test fails when a class is missing there or in `docs/reference/errors.md`.
"""

from __future__ import annotations

from typing import Any

from valetkey.core.delegation_refusals import DelegationEnded as DelegationEnded
from valetkey.core.delegation_refusals import DelegationRefused as DelegationRefused
from valetkey.core.delegation_refusals import OutsideDelegation as OutsideDelegation
from valetkey.core.outages import MintedTooLong as MintedTooLong
from valetkey.core.outages import MinterRefused as MinterRefused
from valetkey.core.outages import MinterUnavailable as MinterUnavailable
from valetkey.core.outages import NotAsked as NotAsked
from valetkey.core.outages import NotReady as NotReady
from valetkey.core.outages import OutcomeUnknown as OutcomeUnknown
from valetkey.core.outages import SealingFailed as SealingFailed
from valetkey.core.outages import StoreUnavailable as StoreUnavailable
from valetkey.core.refusal import BrokerError as BrokerError
from valetkey.core.unfit_rules import RulesFromFiles as RulesFromFiles
from valetkey.core.unfit_rules import RulesInvalid as RulesInvalid
from valetkey.core.unfit_rules import RulesNotProven as RulesNotProven

# --- we do not know you ---------------------------------------------------------------------


class Unauthenticated(BrokerError):
    """The proof of identity is missing, malformed or does not verify."""

    code = "unauthenticated"
    next_action = "Get a new token from POST /oauth2/token with a fresh proof from your platform."


class UntrustedIssuer(BrokerError):
    """The proof was signed by an issuer that is not registered here."""

    code = "untrusted_issuer"
    next_action = "Use a registered issuer, or have it added to valetkey.yaml by review."


class TokenExpired(BrokerError):
    """The token is past its end."""

    code = "token_expired"
    next_action = "Get a new token from POST /oauth2/token and send the request again."


class ClockSkew(BrokerError):
    """The proof was made in the future by our clock, or too long ago."""

    code = "clock_skew"
    next_action = "Correct the caller's clock, then make a fresh proof."


class ProofReplayed(BrokerError):
    """This proof was used before; each is accepted once."""

    code = "proof_replayed"
    next_action = "Make a new proof for each request."


class InvalidDpopProof(BrokerError):
    """The DPoP proof is missing or does not match this request, token or key."""

    code = "invalid_dpop_proof"
    next_action = "Send one DPoP proof made for exactly this method, URL and token."


class UseDpopNonce(BrokerError):
    """The DPoP proof must hold a nonce of ours."""

    code = "use_dpop_nonce"
    next_action = "Send the request again with the answer's DPoP-Nonce in the proof's `nonce`."

    def __init__(self, detail: str = "", *, nonce: str = "", **more: Any) -> None:
        super().__init__(detail, **more)
        self.nonce = nonce


class KeyMismatch(BrokerError):
    """The token is bound to another key than the one that signed."""

    code = "key_mismatch"
    next_action = "Use the key the token was first presented with, or wait for a new token."


class UnknownAgent(BrokerError):
    """The proof is good, but no registered agent is bound to this identity."""

    code = "unknown_agent"
    next_action = "Register the agent and bind this workload identity to it."


class FreshLoginRequired(BrokerError):
    """This act needs a login made within five minutes, for exactly this object."""

    code = "fresh_login_required"
    next_action = "Log in again for this object; `valetkey grant approve` does it for you."


# --- we know you; no ------------------------------------------------------------------------


class WrongDoor(BrokerError):
    """This route is for another kind of caller."""

    code = "wrong_door"
    next_action = "Agents use agent routes and people use people's routes; use the other identity."


class RoleRequired(BrokerError):
    """Your groups give you no role that may do this."""

    code = "role_required"
    next_action = "Ask somebody who holds the role, or have your group mapped to it."


class AgentNotAccepted(BrokerError):
    """The agent's owner has not accepted it yet."""

    code = "agent_not_accepted"
    next_action = "Have the owner run `valetkey agent accept` once."


class AgentDisabled(BrokerError):
    """The agent is disabled."""

    code = "agent_disabled"
    next_action = "Stop; the owner or an operator decides whether it may work again."


class DeniedByPolicy(BrokerError):
    """Policy does not allow this, with any approval that could be had."""

    code = "denied_by_policy"
    next_action = "Ask for less (see `explain`), or have the policy changed by review."


class PolicyBroken(BrokerError):
    """Policy could not be evaluated, and so nothing is allowed."""

    code = "policy_broken"
    next_action = "Do not retry; an operator must repair the policy named by the decision."


class DeniedByPerson(BrokerError):
    """A named person looked at this and said no."""

    code = "denied_by_person"
    next_action = "Do not ask again for the same; talk to the approver."


class ApprovalTimedOut(BrokerError):
    """Nobody decided in time."""

    code = "approval_timed_out"
    next_action = "Ask again, and tell an approver."


class ApprovalVoid(BrokerError):
    """What was approved is no longer what would be issued, or the approval was used."""

    code = "approval_void"
    next_action = "Ask again; a new approval is needed for what the rules now say."


class ApproverNotEligible(BrokerError):
    """The requester, owner, creator or binder of an agent may not approve for it."""

    code = "approver_not_eligible"
    next_action = "Ask another approver of a group the grant waits for."


class OutsideToken(BrokerError):
    """The token was given for other asks than this."""

    code = "outside_token"
    next_action = "Get a token for this ask, or one without authorization_details."


class OutsideTask(BrokerError):
    """The task did not declare that it needs this scope."""

    code = "outside_task"
    next_action = "Start a task that declares the scope, or ask within the one you have."


class OutsideBoundary(BrokerError):
    """The agent's outer boundary does not contain this scope."""

    code = "outside_boundary"
    next_action = "Ask within the boundary, or have it widened by its owner."


class OutsideTrustRule(BrokerError):
    """The trust rule of this CI identity does not allow provisioning this."""

    code = "outside_trust_rule"
    next_action = "Stay within the rule's prefix, owners, teams, labels and ceiling."


class Killed(BrokerError):
    """A kill is in force over this."""

    code = "killed"
    next_action = "Stop; wait until people release the kill."


class NotFound(BrokerError):
    """There is no such thing, or it is not yours."""

    code = "not_found"
    next_action = "Check the id."


# --- true, but not now ----------------------------------------------------------------------


class TaskEnded(BrokerError):
    """The task has ended, and authority with it."""

    code = "task_ended"
    next_action = "Start a new task if there is more to do."


class StaleHeartbeat(BrokerError):
    """A later beat was made than the one this beat knows of; nothing was changed."""

    code = "stale_heartbeat"
    next_action = "Stop, unless the later beat was your own: then read `fence` from the task."


class BudgetSpent(BrokerError):
    """The task, or one above it, was given as many credentials as it may have."""

    code = "budget_spent"
    next_action = "Do not retry; work with what you have, or have a new task started."


class InProgress(BrokerError):
    """The same request is being worked on, or was answered moments ago."""

    code = "in_progress"
    next_action = "Wait for `retry_after`; for a lost answer repeat with `Redeliver: <lease id>`."


class AlreadyDelivered(BrokerError):
    """This request was answered with a credential before."""

    code = "already_delivered"
    next_action = "Use the credential you have, or repeat with `Redeliver: <lease id>`."


class RedeliveryRefused(BrokerError):
    """A new credential for a lost answer is not possible now."""

    code = "redelivery_refused"
    next_action = "Wait until the old lease has ended with proof; at most three per grant."


class IdempotencyMismatch(BrokerError):
    """The idempotency key was used with another request."""

    code = "idempotency_mismatch"
    next_action = "Use a new key for a new request."


class AlreadyDecided(BrokerError):
    """The grant or proposal was decided, collected, withdrawn or overtaken before."""

    code = "already_decided"
    next_action = "Read the grant or proposal to see what was decided."


class StillWaiting(BrokerError):
    """The grant still waits for a person."""

    code = "still_waiting"
    next_action = "Poll the grant after `retry_after`."


class LeaseEnded(BrokerError):
    """The lease was ended before it could be delivered; nothing was handed out."""

    code = "lease_ended"
    next_action = "Look at the task and the kills; ask again if both allow it."


class NotRenewable(BrokerError):
    """This credential cannot be renewed, or not any further."""

    code = "not_renewable"
    next_action = "Ask for a new credential; only what was asked for with `renewable_for` renews."


class NotStuck(BrokerError):
    """Only a lease that is stuck can be written off."""

    code = "not_stuck"
    next_action = "Look at the lease: it is not stuck, and ends or has ended by itself."


class NameTaken(BrokerError):
    """An agent of this name exists."""

    code = "name_taken"
    next_action = "Choose another name, or change the existing agent."


class ChangedMeanwhile(BrokerError):
    """What you want to change is not what you read any more; nothing was changed."""

    code = "changed_meanwhile"
    next_action = "Read or plan again, look at what is different, and send what you want then."


class BindingTaken(BrokerError):
    """This workload identity is bound to another agent."""

    code = "binding_taken"
    next_action = "Give each agent an identity of its own."


# --- the request makes no sense -------------------------------------------------------------


class InvalidRequest(BrokerError):
    """The request is malformed."""

    code = "invalid_request"
    next_action = "Correct the field named in `detail`; see the reference."


class BodyTooLarge(BrokerError):
    """The body is over the limit."""

    code = "body_too_large"
    next_action = "Send less."


class UnsupportedMedia(BrokerError):
    """The body is not of the media type this route takes."""

    code = "unsupported_media_type"
    next_action = "Send the media type the reference names."


class UnknownScope(BrokerError):
    """The active catalogue has no such scope."""

    code = "unknown_scope"
    next_action = "See GET /v1/catalogue for what may be asked for."


class InvalidParameter(BrokerError):
    """A scope parameter is missing, unknown or out of its type."""

    code = "invalid_parameter"
    next_action = "See GET /v1/catalogue for each parameter's type."


class InvalidTtl(BrokerError):
    """The TTL must be a whole number of seconds above zero and within the limit."""

    code = "invalid_ttl"
    next_action = "Send `ttl` as a JSON integer of seconds."


class SealingRequired(BrokerError):
    """The catalogue gives this scope only sealed, and the ask names no key to seal to."""

    code = "sealing_required"
    next_action = "Ask again with `seal_to`, a public key whose private part you hold."


class TrustRuleTooWide(BrokerError):
    """A trust rule must pin ids exactly, with an environment or ref condition."""

    code = "trust_rule_too_wide"
    next_action = "Pin the platform's ids and one of environment or ref."


class RateLimited(BrokerError):
    """Too many requests, too many live leases, or too many open tasks."""

    code = "rate_limited"
    next_action = "Wait for `retry_after`; end what you no longer need."


def catalogue() -> list[type[BrokerError]]:
    """Every error class a caller can meet, in the order of this file."""
    return [BrokerError, *BrokerError.__subclasses__()]
