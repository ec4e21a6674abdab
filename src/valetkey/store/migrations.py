"""Schema migrations: up, down, and whether the database is where this version expects it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

import valetkey


def migrate(url: str, *, to: str = "head", app_role: str = "valetkey_app") -> None:
    """Bring the schema to a revision, as the owner role; `app_role` gets its narrow grants."""
    configuration = _configuration(url)
    configuration.attributes["app_role"] = app_role
    command.upgrade(configuration, to)


def unmigrate(url: str, *, to: str = "base") -> None:
    """Take the schema back to a revision."""
    command.downgrade(_configuration(url), to)


def behind(revision: str | None) -> bool:
    """True when a schema at this revision is older than this version needs.

    A revision that we do not know is a newer version's, which keeps what older replicas use.
    """
    known = sorted(path.name.partition("_")[0] for path in _scripts().glob("versions/[0-9]*.py"))
    return revision is None or revision in known[:-1]


def _configuration(url: str) -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(_scripts()))
    configuration.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return configuration


def _scripts() -> Path:
    """Beside the package when installed, at the root of a checkout otherwise."""
    package = Path(valetkey.__file__).parent
    packaged = package / "migrations"
    return packaged if packaged.is_dir() else package.parents[1] / "migrations"
