"""Alembic's entry: one connection as the owner role, or SQL text for the linter."""

from alembic import context
from sqlalchemy import create_engine

from valetkey.store.tables import metadata


def run() -> None:
    """Run the migrations online, or print them with --sql."""
    url = context.config.get_main_option("sqlalchemy.url")
    if context.is_offline_mode():
        context.configure(url=url or "postgresql+psycopg://", literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    engine = create_engine(url or "", hide_parameters=True)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
