"""What to paste at a platform so that a workload there proves itself to this broker.

One text for each platform beside this file, with the URL, the audience and the agent's name put in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

FILES: Final[Mapping[str, str]] = {
    "github-actions": "github-actions.yml",
    "gitlab": "gitlab.yml",
    "kubernetes": "kubernetes.yaml",
    "spiffe": "spiffe.sh",
    "aws": "aws.sh",
    "generic": "generic.sh",
}
"""The text of each platform."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ADDRESS: Final = re.compile(r"[A-Za-z0-9:/._\[\]-]{1,300}")


def snippet(platform: str, agent: str, url: str, audience: str) -> str:
    """The text for a platform of FILES; `url` is the broker's, `audience` what proofs are made for.

    Raises ValueError for a name or address that could mean something else where it is pasted.
    """
    if not _NAME.fullmatch(agent):
        raise ValueError("a snippet is made for an agent's plain name")
    if not (_ADDRESS.fullmatch(url) and _ADDRESS.fullmatch(audience)):
        raise ValueError("the broker's address or audience cannot be written plainly")
    from importlib import resources
    from string import Template

    text = resources.files(__name__).joinpath(FILES[platform]).read_text(encoding="utf-8")
    return Template(text).substitute(agent=agent, url=url, audience=audience)
