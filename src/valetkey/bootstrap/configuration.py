"""Where settings come from: `valetkey.yaml`, the environment above it, and secrets in files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from valetkey.policy.problems import FilesInvalid, Problem
from valetkey.policy.strict_yaml import Node, load_yaml
from valetkey.settings import Settings


def load_settings(path: Path) -> Settings:
    """Read `valetkey.yaml`, with the environment above it; paths are from the file's folder.

    Raises FilesInvalid with file and line, or pydantic's ValidationError naming fields only.
    """
    values = plain(load_yaml(path))
    if not isinstance(values, dict):
        values = {}
    return Settings(**values).resolved(path.parent.resolve())


def config_path() -> Path:
    """`VALETKEY_CONFIG`, else ./valetkey.yaml, else /etc/valetkey/valetkey.yaml.

    Raises FilesInvalid when nothing is named and neither file is there.
    """
    named = os.environ.get("VALETKEY_CONFIG")
    if named:
        return Path(named)
    here = Path("valetkey.yaml")
    for path in (here, Path("/etc/valetkey/valetkey.yaml")):
        if path.exists():
            return path
    looked = (
        "is not there, nor /etc/valetkey/valetkey.yaml; name one by --config or VALETKEY_CONFIG"
    )
    raise FilesInvalid([Problem(str(here), 0, looked)])


def plain(node: Node) -> Any:
    """A strictly read document as plain values."""
    if isinstance(node.value, dict):
        return {key: plain(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, tuple):
        return [plain(item) for item in node.value]
    return node.value


def read_secret(path: Path) -> str:
    """A secret from its file, without the newline at its end."""
    return path.read_text().strip()
