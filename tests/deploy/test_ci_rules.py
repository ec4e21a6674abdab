"""The jobs of deploy/ci that keep catalogue and policies run as they stand, on both platforms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tests.deploy.ci_places import Place, RealTimeStore
from tests.deploy.test_ci import CI, OTHERS, WAITS
from tests.flows.rules import RULES, SAMPLE, SHORTER, RulesStage
from valetkey.core.rules import version_digest
from valetkey.flows.decide_rules import accept_rules, fresh_for_yes


def script(platform: str, job: str) -> str:
    """What a job of the platform's file runs, but for the installation."""
    name = {"gitlab": "gitlab-ci-rules.yml"}.get(platform, f"{platform}-rules.yml")
    text = (CI / name).read_text()
    if platform == "gitlab":
        return "\n".join(yaml.safe_load(text)[f"valetkey-rules-{job}"]["script"])
    steps = yaml.safe_load(text)["jobs"][job]["steps"]
    return "\n".join(x["run"] for x in steps if x.get("name") not in (None, "Install"))


@pytest.fixture(params=["github-actions", "gitlab"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A broker with its rules in the store, that lets in jobs of one platform."""
    with ExitStack() as stack:
        yield Place(stack, request.param, RulesStage(RealTimeStore()), may_apply=RULES)


def checkout(folder: Path, files: dict[str, str]) -> Path:
    """A checkout with these files."""
    for name, text in files.items():
        file = folder / "valetkey" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_a_job_pushes_rules_and_an_operator_puts_them_in_force(
    place: Place, tmp_path: Path
) -> None:
    """Nothing to do; then something, told and waiting; then nothing again."""
    apply, stage = script(place.platform, "apply"), place.stage
    assert isinstance(stage, RulesStage)
    first = place.job(apply, checkout(tmp_path, SAMPLE))
    assert (first.code, first.out.strip()) == (0, "Nothing to do."), first.err
    second = place.job(apply, checkout(tmp_path, SHORTER))
    assert second.code == WAITS[place.platform], second.err
    assert re.search("changed +scope orders-db:read +waits for a person", second.out)
    assert "valetkey rules list" in second.out + second.err
    [waiting] = stage.seen().proposals
    fresh = stage.fresh(stage.operator, fresh_for_yes(waiting))
    trusted = {place.rule.name: place.rule}
    accept_rules(stage.broker, fresh, trusted, waiting.id, waiting.shown_hash)
    assert stage.in_force() == version_digest(SHORTER)
    third = place.job(apply, tmp_path)
    assert (third.code, third.out.strip()) == (0, "Nothing to do."), third.err


def test_a_review_reads_the_rules_and_decides_their_tests(place: Place, tmp_path: Path) -> None:
    """Without any identity; what is wrong is told at its place in the checkout."""
    check = script(place.platform, "check")
    check = check.replace("valetkey apply", 'env -i PATH="$PATH" HOME="$HOME" valetkey apply')
    good = place.job(check, checkout(tmp_path, SHORTER))
    assert good.code == 0, good.err
    tests = "policies/tests/refunds.yaml"
    wrong = SAMPLE[tests].replace("expect: allow", "expect: deny", 1)
    bad = place.job(check, checkout(tmp_path, {tests: wrong}))
    assert bad.code == 1
    assert f"valetkey/{tests}:2: test 'a refunds agent reads its own region': expected" in bad.err


def test_what_the_broker_finds_wrong_is_told_at_its_place(place: Place, tmp_path: Path) -> None:
    """The same words, although nothing was read here before."""
    files = {**SAMPLE, "catalogue/archive-api.yaml": "target: archive-api\n"}
    refused = place.job(script(place.platform, "apply"), checkout(tmp_path, files))
    assert refused.code == 1
    assert "valetkey/catalogue/archive-api.yaml:1: minter is missing" in refused.err


def test_a_job_of_another_project_pushes_nothing(place: Place, tmp_path: Path) -> None:
    """Signed by the same platform, with other ids: refused at the door."""
    folder = checkout(tmp_path, SHORTER)
    refused = place.job(script(place.platform, "apply"), folder, **OTHERS[place.platform])
    assert (refused.code, "refused:" in refused.err) == (1, True)
    assert isinstance(place.stage, RulesStage)
    assert not place.stage.seen().proposals
