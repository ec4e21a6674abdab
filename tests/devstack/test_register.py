"""The sample people's secrets, kept in files from one start to the next."""

from __future__ import annotations

import json
from pathlib import Path

from valetkey.devstack.issuer.people import PEOPLE, register


def test_a_second_operator_can_release_what_the_first_one_killed() -> None:
    """A kill is released by another operator, so the samples have two."""
    operators = [person for person in PEOPLE if "valetkey-operators" in person.groups]
    assert len(operators) >= 2


def test_passwords_last_and_a_new_sample_person_gets_one(tmp_path: Path) -> None:
    """A folder of before somebody was added still lets everybody in, nobody without a password."""
    before = register(tmp_path).passwords
    file = tmp_path / "people.json"
    older = {login: one for login, one in json.loads(file.read_text()).items() if login != "otto"}
    file.write_text(json.dumps(older))
    known = register(tmp_path)
    assert {login: known.passwords[login] for login in older} == {
        login: before[login] for login in older
    }
    found = known.person("otto", known.passwords["otto"])
    assert found is not None
    assert known.person("otto", "") is None
    assert register(tmp_path).passwords == known.passwords
