"""Schema migrations: up, down, and whether the database is where this version expects it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

import valetkey


def migrate(url: str, *, to: str = "head", app_role: str = "valetkey_app") -> None:
    """Bring the schema to a revision, as the owner role; `app_role` gets its narrow grants."""
    configuration = _configuration(url)
    configuration.attributes["app_role"] = app_role
    command.upgrade(configuration, to)


def unmigrate(url: str, *, to: str = "base") -> None:
    """Take the schema back to a revision."""
    command.downgrade(_configuration(url), to)


def pending(url: str) -> bool:
    """True when the database is not at the newest revision."""
    engine = create_engine(url, hide_parameters=True)
    try:
        with engine.connect() as connection:
            at = MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
    return at != ScriptDirectory.from_config(_configuration(url)).get_current_head()


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
