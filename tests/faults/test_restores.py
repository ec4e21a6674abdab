"""Restores from older copies, a clone beside the original, and deaths while a tally is noted.

The steps are those of `docs/restores.md`, with the commands that it names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from tests.faults.copies import (
    copy_database,
    copy_openbao,
    restore_database,
    restore_openbao,
)
from tests.faults.ground import (
    WRITE,
    Ground,
    ask_for,
    get,
    lease_of,
    operator,
    sqlalchemy_url,
    start,
    unended,
    until_ended,
    until_true,
)
from tests.faults.rows import row
from tests.faults.shared import a_ground_of_ones_own
from valetkey.bootstrap import House
from valetkey.cli.tree import valetkey
from valetkey.core.errors import BrokerError
from valetkey.core.kill import Height
from valetkey.core.lease import LeaseState, Proof
from valetkey.core.tally import Doubt
from valetkey.devstack.folders import write_private
from valetkey.flows.doctor import doctor
from valetkey.flows.end_task import end_task
from valetkey.flows.kill import kill, release_kill
from valetkey.flows.reconcile import reconcile
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.witness import doubts, note_tally
from valetkey.minters.pins import openbao_policy, pinned_targets
from valetkey.policy.catalogue import load_catalogue

MINTER = "openbao-database"
BY = ("--by", "opal", "--reason", "restored from a copy")


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """A stack of this file's own, for what is restored is everybody's."""
    with a_ground_of_ones_own() as ground:
        settings = yaml.safe_load(ground.config.read_text())
        write_private(ground.folder / "owner.url", sqlalchemy_url(ground.stack.owner_dsn()))
        settings["database"]["migration_url_file"] = "owner.url"
        ground.config.write_text(yaml.safe_dump(settings))
        yield replace(ground, installation=_installation(ground))


@contextmanager
def at_work(ground: Ground) -> Iterator[House]:
    """A replica whose clock ticks, for a while."""
    with ground.house() as house:
        house.clockwork.start()
        yield house


def typed(ground: Ground, *words: str) -> tuple[int, Any]:
    """What an operator types at the shell: the exit code, and what is printed as JSON."""
    typed = [*words, "--config", str(ground.config), "--json"]
    done = CliRunner().invoke(valetkey, typed, catch_exceptions=False)
    return done.exit_code, json.loads(done.stdout)


def _installation(ground: Ground) -> str:
    query = "SELECT id || 'e' || epoch FROM installation"
    ((name,),) = ground.look(query, database="valetkey")
    return str(name)


def repin(ground: Ground) -> Ground:
    """Pins for the epoch that began, and no claim of the one before: an administrator's part."""
    installation, stack = _installation(ground), ground.stack
    catalogue = load_catalogue(ground.folder / "catalogue")
    policies = {x: openbao_policy(catalogue, (x,), installation) for x in pinned_targets(catalogue)}
    stack.options = replace(stack.options, writer_policies=policies)
    stack.provision()
    stack.openbao.as_root().delete("valetkey/metadata/claims/orders-db")
    return replace(ground, installation=installation)


def test_our_database_restored_from_an_older_copy(ground: Ground) -> None:
    """What was issued and stopped since is unknown: nothing is issued until people have seen to it,
    what was lost is found and ended, and nothing is alive that should not be."""
    with at_work(ground) as house:
        bot, killed = ground.bot(house), ground.bot(house)
        task = start(house, bot)
        kept, ended = get(house, bot, ask_for(task)), get(house, bot, ask_for(task, WRITE))
        assert not reconcile(house.broker, MINTER).waits
    copy_database(ground.stack, "older")
    with at_work(ground) as house:
        lost = get(house, bot, ask_for(task))
        end_task(house.broker, killed, start(house, killed).id)
        kill(house.broker, operator(), Height.AGENT, killed.agent_id or "", "odd")
        end_lease(house, ended.lease.id)
        assert not reconcile(house.broker, MINTER).waits

    restore_database(ground.stack, "older")
    with ground.house() as house:  # somebody starts it all the same
        assert Doubt.WE_ARE_OLDER in house.problems()
        code, told = typed(ground, "reconcile", "--act", *BY)
        assert (code, told[MINTER]["held"]) == (1, {"orders-db": Doubt.WE_ARE_OLDER})
        assert told[MINTER]["odd"] == [lost.lease.handle.name]
        assert typed(ground, "installation", "show")[0] == 1
        assert not ground.refuses(lost.secret.reveal())

    code, begun = typed(ground, "installation", "new-epoch", *BY)
    assert (code, begun["before"]) == (0, ground.installation)
    with ground.house() as early:  # before anybody wrote its pins
        assert reconcile(early.broker, MINTER).problems == {"catalogue": "not_ready"}
    before, ground = ground, repin(ground)
    assert ground.installation == begun["installation"] == f"{before.installation[:-1]}2"
    with at_work(ground) as house:
        with pytest.raises(BrokerError) as refused:
            get(house, bot, ask_for(task))
        assert refused.value.code in {"task_ended", "killed"}
        with pytest.raises(BrokerError) as refused:
            start(house, bot)
        assert refused.value.code == "killed"
        assert until_ended(house, kept.lease.id).proof is Proof.VERIFIED
        assert until_ended(house, ended.lease.id).proof is Proof.VERIFIED
        code, told = typed(ground, "reconcile")
        assert (code, told[MINTER]["other_epochs"]) == (1, [lost.lease.handle.name])
        assert [(x.invariant, x.about) for x in doctor(house.broker)] == [
            ("I1", lost.lease.handle.name)
        ]
        assert not ground.refuses(lost.secret.reveal())
        typed(ground, "reconcile", "--adopt-epoch", "1", *BY)
        until_true(lambda: not unended(house), 25, lambda: str(unended(house)))
        assert ground.refuses(lost.secret.reveal())
        assert before.roles() == before.bao_objects() == []

        kill(house.broker, operator(), Height.AGENT, killed.agent_id or "", "odd, again")
        fresh = operator("odette", fresh_for=f"release:{begun['kill']}")
        release_kill(house.broker, fresh, begun["kill"])
        with pytest.raises(BrokerError):
            start(house, killed)
        until_true(lambda: not house.problems(), 20, lambda: str(house.problems()))
        task = start(house, bot)
        issued = get(house, bot, ask_for(task))
        assert issued.lease.handle.name.startswith(f"vk-{ground.installation}-")
        assert end_task(house.broker, bot, task.id).complete
        ground.at_peace(house)
        assert typed(ground, "reconcile")[0] == typed(ground, "doctor")[0] == 0
        assert typed(ground, "installation", "show")[0] == 0


@row("F22")
def test_openbao_restored_from_an_older_copy(ground: Ground, tmp_path: Path) -> None:
    """What it brings back is not ended in the mass: it is reported, ordered, and then ended; what
    it forgot is alive in the target, stays known, and ends all the same."""
    ground = replace(ground, installation=_installation(ground))
    with at_work(ground) as house:
        bot = ground.bot(house)
        task = start(house, bot)
        back = get(house, bot, ask_for(task))
        assert not reconcile(house.broker, MINTER).waits
        copy_openbao(ground.stack, tmp_path / "older")
        end_lease(house, back.lease.id)
        forgotten = get(house, bot, ask_for(task))
        assert not reconcile(house.broker, MINTER).waits
    restore_openbao(ground.stack, tmp_path / "older")
    objects = [name.rstrip("/") for name in ground.bao_objects()]
    assert objects == [back.lease.handle.name] * 2, "role and lease"
    with at_work(ground) as house:
        assert Doubt.WITNESS_IS_OLDER in house.problems()
        code, told = typed(ground, "reconcile")
        assert (code, told[MINTER]["held"]) == (1, {"orders-db": Doubt.WITNESS_IS_OLDER})
        assert (told[MINTER]["odd"], told[MINTER]["missing"]) == ([back.lease.handle.name], [])
        assert ("I4", back.lease.id) in {(x.invariant, x.about) for x in doctor(house.broker)}
        assert lease_of(house, back.lease.id).state is LeaseState.ENDED
        code, told = typed(ground, "reconcile", "--act", *BY)
        assert (code, told[MINTER]["reappeared"]) == (0, [back.lease.id])
        assert until_ended(house, back.lease.id).proof is Proof.VERIFIED
        until_true(lambda: not house.problems(), 20, lambda: str(house.problems()))
        assert not ground.refuses(forgotten.secret.reveal())
        assert lease_of(house, forgotten.lease.id).state is LeaseState.ACTIVE
        end_task(house.broker, bot, task.id)
        assert until_ended(house, forgotten.lease.id).proof is Proof.VERIFIED
        assert ground.refuses(forgotten.secret.reveal())
        ground.at_peace(house)


def test_a_clone_of_our_database_beside_the_original_is_noticed(ground: Ground) -> None:
    """Same name, same epoch, same claims: the one that comes second touches nothing and says why."""
    with ground.house() as house:
        reconcile(house.broker, MINTER)
    copy_database(ground.stack, "twin")
    settings = yaml.safe_load(ground.config.read_text())
    url = (ground.folder / "app.url").read_text()
    write_private(ground.folder / "twin.url", url.strip().removesuffix("/valetkey") + "/twin")
    settings["database"]["url_file"] = "twin.url"
    (ground.folder / "twin.yaml").write_text(yaml.safe_dump(settings))
    twin = TwinGround(ground.stack, ground.folder, ground.installation)
    with ground.house() as original, twin.house() as second:
        bot = ground.bot(original)
        task = start(original, bot)
        issued = get(original, bot, ask_for(task))
        assert doubts(second.broker, MINTER) is None
        assert not reconcile(original.broker, MINTER).waits
        assert reconcile(second.broker, MINTER).held == {"orders-db": Doubt.WE_ARE_OLDER}
        assert Doubt.WE_ARE_OLDER in second.problems()
        assert not reconcile(original.broker, MINTER).waits
        assert not original.problems()
        assert not ground.refuses(issued.secret.reveal())
        end_task(original.broker, bot, task.id)


class TwinGround(Ground):
    """The same ground with the clone's configuration."""

    @property
    def config(self) -> Path:
        """Another database, and nothing else."""
        return self.folder / "twin.yaml"


@pytest.mark.parametrize("step", ["tally.written", "tally.noted"])
def test_a_death_while_a_tally_is_noted_leaves_no_doubt(ground: Ground, step: str) -> None:
    """Between our commit and OpenBao's, in either order of events."""
    with ground.house() as house:
        with pytest.raises(KeyboardInterrupt):
            note_tally(replace(house.broker, failpoint=stop_at(step)), MINTER)
        assert doubts(house.broker, MINTER) is None
        assert not reconcile(house.broker, MINTER).waits


def stop_at(step: str) -> Callable[[str], None]:
    """A fail point beyond which nothing happens."""

    def stop(reached: str) -> None:
        if reached == step:
            raise KeyboardInterrupt

    return stop


def end_lease(house: House, lease_id: str) -> None:
    """An operator ends one lease, and it is proven."""
    revoke_lease(house.broker, operator(), lease_id)
    assert until_ended(house, lease_id).proof is Proof.VERIFIED
