"""Postgres: the only room that knows SQLAlchemy. Core tables in, core values out."""
