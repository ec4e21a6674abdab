"""What `/oauth2` answers with, as models for the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from valetkey.web.api.answers import Answer, Proof
from valetkey.web.api.refusals import OAuthError as OAuthError


class TokenAnswer(Answer):
    """Our access token, bound to the key of the DPoP proof; `expires_in` in seconds."""

    access_token: str
    issued_token_type: str | None = None
    token_type: Literal["DPoP"]
    expires_in: int
    authorization_details: list[dict[str, str | int]] | None = None


class BackchannelAnswer(Answer):
    """Where to poll from now on: the id, and seconds that it is good for and between two polls."""

    auth_req_id: str
    expires_in: int
    interval: int


class Revoked(Answer):
    """What is so now: nothing more to say of an access token, and of a credential how it ends."""

    lease: str | None = None
    state: str | None = None
    end_class: Proof | None = None
    still_valid_until: datetime | None = None
