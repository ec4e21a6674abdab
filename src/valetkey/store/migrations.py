"""Schema migrations: up, down, and whether the database is where this version expects it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

import valetkey


def migrate(url: str, *, to: str = "head", app_role: str = "valetkey_app") -> bool:
    """Bring the schema to a revision, as the owner role; `app_role` gets its narrow grants.

    False when it is a newer version's: that is left as it is.
    """
    if ahead(_revision(url)):
        return False
    configuration = _configuration(url)
    configuration.attributes["app_role"] = app_role
    command.upgrade(configuration, to)
    return True


def unmigrate(url: str, *, to: str = "base") -> None:
    """Take the schema back to a revision."""
    command.downgrade(_configuration(url), to)


def behind(revision: str | None) -> bool:
    """True when a schema at this revision is older than this version needs.

    A revision that we do not know is a newer version's, which keeps what older replicas use.
    """
    return revision is None or revision in _known()[:-1]


def ahead(revision: str | None) -> bool:
    """True when a newer version made the schema what it is."""
    return revision is not None and revision not in _known()


def _known() -> list[str]:
    """The revisions of this version, oldest first."""
    return sorted(path.name.partition("_")[0] for path in _scripts().glob("versions/[0-9]*.py"))


def _revision(url: str) -> str | None:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


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
