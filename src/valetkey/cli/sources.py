"""Where a person's proof comes from: the login that this profile keeps, while it lasts."""

from __future__ import annotations

import hashlib

from valetkey.agentside.files import read_json, write_private_json
from valetkey.agentside.identity import ID_TOKEN_TYPE, Proof, ProofSource
from valetkey.cli.profiles import Profile


class NotLoggedIn(Exception):
    """No login is kept in this profile; `next_action` is what to do about it."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(f"nobody is logged in with profile {profile.name}")
        chosen = "" if profile.name == "default" else f"--profile {profile.name} "
        self.next_action = (
            f"People: `valetkey {chosen}login`. Agents and CI jobs: set "
            "VALETKEY_IDENTITY_TOKEN_FILE."
        )


def keep_login(profile: Profile, proof: Proof) -> None:
    """Keep a login; what is left of the one before is dropped."""
    drop_login(profile)
    write_private_json(profile.login_file, {"id_token": proof.token})


def drop_login(profile: Profile) -> None:
    """Forget the login and the token made from it."""
    profile.login_file.unlink(missing_ok=True)
    profile.token_file("person").unlink(missing_ok=True)


def person_source(profile: Profile) -> ProofSource:
    """The kept login as a proof. Raises NotLoggedIn."""
    token = read_json(profile.login_file).get("id_token")
    if not isinstance(token, str):
        raise NotLoggedIn(profile)
    whose = hashlib.sha256(token.encode()).hexdigest()
    return ProofSource(f"login {whose}", lambda: Proof(token, ID_TOKEN_TYPE))


def once(proof: Proof) -> ProofSource:
    """A proof for one use, kept nowhere."""
    return ProofSource("fresh login", lambda: proof)
