"""A task says that it lives. Nothing else keeps a task that declared a heartbeat from ending."""

from __future__ import annotations

from valetkey.core.errors import NotFound
from valetkey.core.principal import Caller
from valetkey.core.task import Task
from valetkey.ports import Broker


def heartbeat(broker: Broker, caller: Caller, task_id: str, fence: int) -> Task:
    """Beat for the caller's own task; the task with the fence that the next beat must show.

    A beat is no fact: that none came is one, and so is a beat that is refused. Raises NotFound,
    TaskEnded, InvalidRequest for a task without heartbeat, StaleHeartbeat for an old fence.
    """
    with broker.store.transaction() as tx:
        task = tx.task(task_id, lock=True)
        if task is None:
            raise NotFound()
        task.belongs_to(caller.agent_id, caller.jkt)
        task.is_open(tx.now())
        beaten = task.beaten(fence, tx.now(), broker.limits.missed_beats)
        tx.save_task(beaten)
    return beaten
