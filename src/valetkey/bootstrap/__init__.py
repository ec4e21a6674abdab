"""The composition root: settings in, a broker with everything it works with out."""

from valetkey.bootstrap.configuration import config_path, load_settings, plain, read_secret
from valetkey.bootstrap.house import FAILPOINT, House, WrongDatabaseRole, build_house
from valetkey.bootstrap.serving import application, open_house, serve

__all__ = [
    "FAILPOINT",
    "House",
    "WrongDatabaseRole",
    "application",
    "build_house",
    "config_path",
    "load_settings",
    "open_house",
    "plain",
    "read_secret",
    "serve",
]
