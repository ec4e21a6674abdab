"""What every answer is made of, and what refusals look like, as models for the OpenAPI document."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """A JSON object with exactly these members."""

    model_config = ConfigDict(extra="forbid")


class Nearest(Answer):
    """What would not be denied instead: decided, not guessed."""

    scopes: list[str]
    ttl: int
    outcome: Literal["allow", "needs_approval"]


class Problem(BaseModel):
    """Any refusal (RFC 9457); `code` and `next_action` are stable, see the error reference."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    code: str
    detail: str
    next_action: str
    retry_after: float | None = None
    decision_id: str | None = None
    nearest: Nearest | None = None


class OAuthError(BaseModel):
    """A refusal of `/oauth2/*` (RFC 6749 section 5.2), with our own stable code beside it."""

    model_config = ConfigDict(extra="allow")
    error: str
    error_description: str
    code: str
    next_action: str
