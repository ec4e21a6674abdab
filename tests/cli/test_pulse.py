"""The client's pulse: a thread that beats while the work is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli import samples
from tests.cli.conftest import TOKEN
from tests.cli.fake_broker import FakeBroker, problem
from valetkey.agentside.client import Valetkey
from valetkey.agentside.dpop import DpopKey
from valetkey.agentside.identity import from_file
from valetkey.agentside.pulse import Pulse

BEAT = "POST /v1/tasks/task_1/heartbeat"
TASK = {**samples.TASK, "heartbeat": 1, "fence": 1}


@pytest.fixture
def client(broker: FakeBroker, tmp_path: Path) -> Iterator[Valetkey]:
    """An agent's connection; the task it starts beats every second."""
    token = tmp_path / "identity.jwt"
    token.write_text(TOKEN)
    broker.on("POST /v1/tasks", (201, TASK))
    broker.on("POST /v1/tasks/task_1/end", (200, samples.RECEIPT))
    with Valetkey(broker.url, DpopKey.kept(tmp_path / "key.json"), from_file(token)) as opened:
        yield opened


def seen(true: Callable[[], bool]) -> bool:
    """Whether it becomes true within ten seconds."""
    until = time.monotonic() + 10
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    return true()


def test_a_task_beats_until_its_block_is_left(client: Valetkey, broker: FakeBroker) -> None:
    """Each beat shows the fence of the answer before it; then the task is ended."""
    broker.on(BEAT, (200, {**TASK, "fence": 2}), (200, {**TASK, "fence": 3}))
    with client.task("a refund", ["orders-db:read"], 600, heartbeat=1):
        assert seen(lambda: len(broker.made(BEAT)) >= 2)
    assert [call.json["fence"] for call in broker.made(BEAT)][:2] == [1, 2]
    assert broker.made("POST /v1/tasks")[0].json["heartbeat"] == 1
    assert broker.calls[-1].path == "/v1/tasks/task_1/end"


def test_a_task_without_heartbeat_does_not_beat(client: Valetkey, broker: FakeBroker) -> None:
    """It is started without one, as before."""
    with client.task("a refund", ["orders-db:read"], 600):
        pass
    assert "heartbeat" not in broker.made("POST /v1/tasks")[0].json
    assert broker.made(BEAT) == []


def test_a_beat_whose_answer_was_lost_is_known_by_its_fence(
    client: Valetkey, broker: FakeBroker
) -> None:
    """The broker is one ahead of us: that was our own; beating goes on from there."""
    stale = (409, problem("stale_heartbeat", 409))
    broker.on(BEAT, stale, (200, {**TASK, "fence": 3}))
    broker.on("GET /v1/tasks/task_1", (200, {**TASK, "fence": 2}))
    with Pulse(client, TASK) as pulse:
        assert seen(lambda: len(broker.made(BEAT)) >= 2)
        assert pulse.lost is None
    assert broker.made(BEAT)[1].json["fence"] == 2


def test_a_pulse_stops_when_somebody_else_beats(client: Valetkey, broker: FakeBroker) -> None:
    """Whoever slept while another took over must not go on."""
    broker.on(BEAT, (409, problem("stale_heartbeat", 409)))
    broker.on("GET /v1/tasks/task_1", (200, {**TASK, "fence": 7}))
    with Pulse(client, TASK) as pulse:
        assert seen(lambda: pulse.lost == "stale_heartbeat")
    assert len(broker.made(BEAT)) == 1


def test_a_pulse_outlives_a_broker_that_is_away_for_a_moment(
    client: Valetkey, broker: FakeBroker
) -> None:
    """The next beat may get through."""
    away = (503, problem("store_unavailable", 503))
    broker.on(BEAT, away, (200, {**TASK, "fence": 2}))
    with Pulse(client, TASK) as pulse:
        assert seen(lambda: len(broker.made(BEAT)) >= 2)
        assert pulse.lost is None
