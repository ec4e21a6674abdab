"""What the tests of this folder share: one running emulator, and the places of the claims."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.aws import clouds, radosgw
from tests.aws.clouds import Cloud
from tests.aws.radosgw import Starting
from valetkey.devstack.aws.service import Aws
from valetkey.devstack.folders import DataFolder
from valetkey.devstack.supervisor import Supervisor


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """The emulator with the sample target laid out."""
    folder = DataFolder.at(tmp_path_factory.mktemp("aws") / "data")
    supervisor = Supervisor(folder)
    aws = Aws(folder)
    try:
        supervisor.start_all([aws])
        yield aws
    finally:
        supervisor.stop_all()


@pytest.fixture
def aws(emulator: Aws) -> Iterator[Aws]:
    """The emulator; its knobs stand as they stood when the test is over."""
    yield emulator
    emulator.turn(ahead=0, lag=0, faults=[])


TRIED = pytest.StashKey[set[str]]()
GATEWAY = pytest.StashKey[Starting]()


@pytest.fixture(scope="session")
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """Each place where claims are tried, one after the other."""
    name, config = str(request.param), request.config
    with ExitStack() as ending:
        if name == "radosgw":
            place = clouds.ceph(config.stash[GATEWAY].gateway())
        elif name == "aws":
            place = clouds.real(os.environ)
        else:
            place = clouds.emulated(request.getfixturevalue("emulator"))
        clouds.lay_out(place, ending)
        yield place
        config.stash.setdefault(TRIED, set()).add(name)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have Ceph's gateway started, if a claim will be tried on it, while other tests run."""
    chosen = [getattr(item, "callspec", None) for item in session.items]
    if session.config.option.collectonly:
        return
    if any(spec.params.get("cloud") == "radosgw" for spec in chosen if spec is not None):
        starting = Starting()
        session.config.add_cleanup(starting.close)
        session.config.stash[GATEWAY] = starting


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known by which a claim says what a place must know for it."""
    config.addinivalue_line("markers", "needs(*matters): what a place must know for this claim")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try each claim at every available place that knows its matter."""
    if "cloud" not in metafunc.fixturenames:
        return
    marks = metafunc.definition.iter_markers("needs")
    matters = {matter for mark in marks for matter in mark.args}
    names = [name for name in clouds.available() if matters <= clouds.KNOWS[name]]
    metafunc.parametrize("cloud", names, indirect=True, scope="session")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say where the claims about AWS were tried, for an emulator proves nothing about AWS."""
    tried = config.stash.get(TRIED, set())
    if not tried:
        return
    line = "aws claims: " + " + ".join(sorted(tried))
    if "radosgw" not in tried and not radosgw.installed():
        line += "; radosgw is not installed, run `make system-deps`"
    if "aws" not in tried:
        line += "; what only the emulator judged is unproven on AWS (`make test-aws`)"
    terminalreporter.write_line(line)
