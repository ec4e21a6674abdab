"""`agent bind --platform`: what is printed can be pasted, and the examples are just that."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from tests.cli import samples
from tests.cli.conftest import Terminal
from tests.cli.fake_broker import FakeBroker
from valetkey.cli.snippets import FILES, snippet
from valetkey.cli.tree import valetkey

URL = "https://valetkey.example.com"
EXAMPLES = Path(__file__).parents[2] / "examples" / "workloads"
ROUTE = "POST /v1/agents/refund-bot/bindings"


def text_for(platform: str) -> str:
    """What is printed for the sample agent."""
    return snippet(platform, "refund-bot", URL, URL)


@pytest.mark.parametrize("platform", FILES)
def test_the_example_is_what_is_printed(platform: str) -> None:
    """One text, so that the example cannot grow old."""
    assert (EXAMPLES / FILES[platform]).read_text() == text_for(platform)


@pytest.mark.parametrize("platform", FILES)
def test_nothing_is_left_to_be_filled_but_the_issuer_and_the_ids(platform: str) -> None:
    """The agent, the address and the audience are there."""
    text = snippet(platform, "refund-bot", URL, "urn-of-ours")
    assert "refund-bot" in text
    assert URL in text
    assert "urn-of-ours" in text
    assert "valetkey agent bind refund-bot ISSUER" in text


def test_a_github_job_may_ask_for_tokens_of_our_audience() -> None:
    """And has no more rights than that and reading."""
    job: Any = yaml.safe_load(text_for("github-actions"))
    assert job["permissions"] == {"id-token": "write", "contents": "read"}
    assert job["jobs"]["work"]["env"] == {"VALETKEY_URL": URL, "VALETKEY_AUDIENCE": URL}


def test_a_gitlab_job_has_a_token_of_our_audience() -> None:
    """In a variable, and from there in a private file."""
    job: Any = yaml.safe_load(text_for("gitlab"))["refund-bot"]
    assert job["id_tokens"] == {"VALETKEY_ID_TOKEN": {"aud": URL}}
    assert _shell("\n".join(job["script"])) == ""


def test_a_pod_has_a_projected_token_and_a_place_for_its_key() -> None:
    """Valid for Kubernetes; the token of the API server is not mounted."""
    account, pod = (dict(one) for one in yaml.safe_load_all(text_for("kubernetes")))
    for one in (account, pod):
        kubernetes_validate.validate(one, "1.34", strict=True)
    spec = pod["spec"]
    (source,) = spec["volumes"][0]["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == URL
    assert spec["automountServiceAccountToken"] is account["automountServiceAccountToken"] is False


@pytest.mark.parametrize("platform", ["spiffe", "aws", "generic"])
def test_a_script_is_one_for_any_shell(platform: str) -> None:
    """It is read without complaint."""
    assert _shell(text_for(platform)) == ""


@pytest.mark.parametrize("platform", sorted(FILES.keys() - {"kubernetes"}))
def test_the_command_in_it_is_one_of_ours(platform: str) -> None:
    """With options that it has."""
    found = re.search(r"^ *(valetkey run .*?) -- ", text_for(platform), re.M | re.S)
    assert found is not None
    argv = shlex.split(found[1])
    run = valetkey.get_command(click.Context(valetkey), "run")
    assert run is not None
    known = {name for parameter in run.params for name in parameter.opts}
    assert {word for word in argv if word.startswith("--")} <= known


def test_only_the_text_is_printed_without_an_issuer(person: Terminal, broker: FakeBroker) -> None:
    """Nobody is asked, so that it can be had before anything is bound."""
    done = person.run("agent", "bind", "refund-bot", "--platform", "gitlab")
    assert done.exit_code == 0
    assert yaml.safe_load(done.stdout)["refund-bot"]["variables"] == {"VALETKEY_URL": broker.url}
    assert not broker.made(ROUTE)


def test_the_audience_may_be_another(person: Terminal) -> None:
    """As the environment says."""
    person.env["VALETKEY_AUDIENCE"] = "valetkey-production"
    printed = person.json("agent", "bind", "refund-bot", "--platform", "gitlab")["snippet"]
    job = yaml.safe_load(printed)["refund-bot"]
    assert job["id_tokens"]["VALETKEY_ID_TOKEN"]["aud"] == "valetkey-production"


def test_it_can_be_bound_and_printed_in_one(person: Terminal, broker: FakeBroker) -> None:
    """The text alone is on stdout."""
    broker.on(ROUTE, (201, samples.AGENT["bindings"][0]))
    done = person.run("agent", "bind", "refund-bot", "here", "sub=x", "--platform", "generic")
    assert done.exit_code == 0
    assert done.stdout.startswith("#!/bin/sh")
    assert len(broker.made(ROUTE)) == 1


@pytest.mark.parametrize("name", ["a b", "$(x)", "a\nb", "-x", "a'b"])
def test_a_name_that_could_mean_something_else_is_refused(name: str) -> None:
    """A text that is pasted must not be written by whoever named an agent."""
    with pytest.raises(ValueError, match="plain"):
        snippet("generic", name, URL, URL)
    with pytest.raises(ValueError, match="plainly"):
        snippet("generic", "bot", URL, f'{URL}"; rm -rf "')


def _shell(script: str) -> str:
    """What a shell says of a script that it only reads."""
    return subprocess.run(
        ["/bin/sh", "-n"], input=script, capture_output=True, text=True, check=False
    ).stderr
