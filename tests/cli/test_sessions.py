"""Who the CLI is to the broker: proofs, keys, kept tokens, profiles."""

from __future__ import annotations

import json
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, OctKey

from tests.cli import samples
from tests.cli.conftest import TOKEN, Terminal
from tests.cli.fake_broker import FakeBroker, problem
from valetkey.agentside.dpop import DpopKey

LIST = ("task", "list")
ROUTE = "GET /v1/tasks"
NONE = (200, {"items": []})


def test_every_file_of_a_profile_is_private(bot: Terminal, broker: FakeBroker) -> None:
    """Keys and tokens are 0600 in folders that only their user may enter."""
    broker.on(ROUTE, NONE)
    assert bot.run(*LIST).exit_code == 0
    files = [path for path in bot.home.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"workload.key.json", "workload.token.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((bot.home / "profiles" / "default").stat().st_mode) == 0o700


def test_a_profile_never_keeps_the_platforms_token(bot: Terminal, broker: FakeBroker) -> None:
    """What the platform signed is read when needed and written nowhere."""
    broker.on(ROUTE, NONE)
    bot.run(*LIST)
    assert not [
        path for path in bot.home.rglob("*") if path.is_file() and TOKEN in path.read_text()
    ]


def test_a_token_is_used_by_later_commands_until_it_ends(bot: Terminal, broker: FakeBroker) -> None:
    """Two commands exchange once; one that would end within seconds is exchanged anew."""
    broker.on(ROUTE, NONE)
    bot.run(*LIST)
    bot.run(*LIST)
    assert broker.count() == 1
    broker.expires_in = 5
    (bot.home / "profiles" / "default" / "workload.token.json").unlink()
    bot.run(*LIST)
    bot.run(*LIST)
    assert broker.count() == 3


def test_an_ended_token_is_renewed_once(bot: Terminal, broker: FakeBroker) -> None:
    """`token_expired` leads to a new exchange and the same call again; a second one is told."""
    expired = (401, problem("token_expired", 401))
    broker.on(ROUTE, expired, NONE)
    assert bot.run(*LIST).exit_code == 0
    assert broker.count() == 2
    broker.on(ROUTE, expired)
    assert bot.run(*LIST).exit_code == 1


def test_each_call_has_a_proof_of_its_own(bot: Terminal, broker: FakeBroker) -> None:
    """No two calls carry the same proof id; all are of one key."""
    broker.on(ROUTE, NONE)
    for _ in range(3):
        bot.run(*LIST)
    assert len({call.proof["jti"] for call in broker.calls}) == len(broker.calls)
    assert len({json.dumps(call.proof["jwk"], sort_keys=True) for call in broker.calls}) == 1


def test_another_profile_has_another_key_and_token(bot: Terminal, broker: FakeBroker) -> None:
    """Profiles share nothing."""
    broker.on(ROUTE, NONE)
    bot.run(*LIST)
    bot.run("--profile", "other", *LIST)
    assert broker.count() == 2
    keys = {json.dumps(call.proof["jwk"], sort_keys=True) for call in broker.calls}
    assert len(keys) == 2


def test_the_ci_platform_is_asked_for_a_token_for_this_broker(
    broker: FakeBroker, tmp_path: Path
) -> None:
    """The request variables are used, with our URL as the audience, and the token is exchanged."""
    broker.on("GET /idtoken", (200, {"value": TOKEN}))
    broker.on(ROUTE, NONE)
    env = {
        "VALETKEY_URL": broker.url,
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{broker.url}/idtoken?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "bearer-of-the-job",
    }
    assert Terminal(tmp_path, env).run(*LIST).exit_code == 0
    (asked,) = broker.made("GET /idtoken")
    assert asked.query == {"api-version": "2.0", "audience": broker.url}
    assert asked.headers["authorization"] == "Bearer bearer-of-the-job"
    (exchanged,) = broker.made("POST /oauth2/token")
    assert exchanged.form["subject_token"] == TOKEN
    assert exchanged.form["subject_token_type"].endswith(":jwt")


def test_a_token_may_come_from_standard_input(broker: FakeBroker, tmp_path: Path) -> None:
    """`--identity-token-file -` reads it, so that it is neither in argv nor in a file."""
    broker.on(ROUTE, NONE)
    terminal = Terminal(tmp_path, {"VALETKEY_URL": broker.url})
    done = terminal.run(*LIST, "--identity-token-file", "-", stdin=TOKEN + "\n")
    assert done.exit_code == 0, done.stderr
    assert broker.made("POST /oauth2/token")[0].form["subject_token"] == TOKEN


def test_a_token_on_the_command_line_is_a_usage_error(broker: FakeBroker, tmp_path: Path) -> None:
    """The option takes only `-`."""
    terminal = Terminal(tmp_path, {"VALETKEY_URL": broker.url})
    assert terminal.run(*LIST, "--identity-token-file", TOKEN).exit_code == 2


def test_no_identity_is_a_usage_error_that_says_what_to_set(
    broker: FakeBroker, tmp_path: Path
) -> None:
    """An agent's command without any proof of identity."""
    terminal = Terminal(tmp_path, {"VALETKEY_URL": broker.url})
    start = ("task", "start", "--purpose", "x", "--scope", "orders-db:read", "--ttl", "5m")
    done = terminal.run(*start)
    assert done.exit_code == 2
    assert "VALETKEY_IDENTITY_TOKEN_FILE" in done.stderr


@pytest.mark.parametrize("content", ["", "not a token", "a.b", "x" * 9000, "ä.b.c"])
def test_an_unreadable_identity_is_a_usage_error_that_does_not_show_it(
    bot: Terminal, broker: FakeBroker, content: str
) -> None:
    """What is no token is not sent anywhere, nor printed."""
    Path(str(bot.env["VALETKEY_IDENTITY_TOKEN_FILE"])).write_text(content)
    done = bot.run(*LIST)
    assert done.exit_code == 2
    assert not broker.calls
    assert content not in done.stderr or not content


def test_nobody_logged_in_is_a_refusal_that_says_to_log_in(
    broker: FakeBroker, tmp_path: Path
) -> None:
    """A person's command without a login."""
    done = Terminal(tmp_path, {"VALETKEY_URL": broker.url}).run("agent", "accept", "refund-bot")
    assert done.exit_code == 1
    assert "valetkey login" in done.stderr


def test_no_broker_named_is_a_usage_error(tmp_path: Path) -> None:
    """Neither a profile nor VALETKEY_URL says whom to ask."""
    done = Terminal(tmp_path).run(*LIST)
    assert done.exit_code == 2
    assert "VALETKEY_URL" in done.stderr


def test_an_unreachable_broker_exits_4(bot: Terminal) -> None:
    """Nobody listens there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bot.env["VALETKEY_URL"] = f"http://127.0.0.1:{port}"
    done = bot.run(*LIST, "--json")
    assert done.exit_code == 4
    assert json.loads(done.stdout)["refused"]["code"] == "unreachable"


@pytest.mark.parametrize("url", ["http://example.com", "ftp://127.0.0.1", "https://u:p@x.example"])
def test_an_address_that_is_not_safe_is_a_usage_error(bot: Terminal, url: str) -> None:
    """Plain HTTP goes to this machine only; no names and passwords in addresses."""
    bot.env["VALETKEY_URL"] = url
    assert bot.run(*LIST).exit_code == 2


def test_a_redirect_is_not_followed(bot: Terminal, broker: FakeBroker) -> None:
    """A token is not sent to where somebody else points."""
    broker.on(ROUTE, (307, {}))
    done = bot.run(*LIST)
    assert done.exit_code == 1
    assert len(broker.made(ROUTE)) == 1


def test_an_answer_that_is_no_json_is_a_refusal(bot: Terminal, broker: FakeBroker) -> None:
    """A proxy's error page does not become a stack trace."""
    broker.on(ROUTE, (502, {}))
    done = bot.run(*LIST)
    assert (done.exit_code, "http_502" in done.stderr) == (1, True)


@pytest.mark.parametrize("name", ["..", "a/b", "A", "", "x" * 99])
def test_a_profile_name_is_no_path(bot: Terminal, name: str) -> None:
    """Only plain names."""
    assert bot.run("--profile", name, *LIST).exit_code == 2


@pytest.mark.parametrize("ttl", ["0", "-1", "5x", "1.5h", "", "five", "9999999999"])
def test_a_ttl_that_is_no_duration_is_a_usage_error(
    bot: Terminal, broker: FakeBroker, ttl: str
) -> None:
    """Nothing is sent for it."""
    done = bot.run("request", "orders-db:read", "--task", "task_1", "--ttl", ttl)
    assert done.exit_code == 2
    assert not broker.calls


def test_whoami_shows_what_the_broker_says(bot: Terminal) -> None:
    """Kind, subject and agent of the token we were given."""
    told = bot.json("whoami")
    assert (told["kind"], told["agent"]) == ("agent", "refund-bot")


def test_logging_out_forgets_login_and_token(person: Terminal, broker: FakeBroker) -> None:
    """Nothing of the person is left but the key."""
    broker.on(ROUTE, (200, {"items": [samples.TASK]}))
    person.run(*LIST)
    assert person.run("logout").exit_code == 0
    left = {path.name for path in (person.home / "profiles" / "default").iterdir()}
    assert left == {"person.key.json"}
    assert person.run(*LIST).exit_code == 1


def test_processes_that_start_together_share_one_key(tmp_path: Path) -> None:
    """Of several that make the key at the same time, the first one's is everybody's."""
    path = tmp_path / "new" / "key.json"
    with ThreadPoolExecutor(16) as pool:
        keys = list(pool.map(lambda _: DpopKey.kept(path).thumbprint, range(64)))
    assert len(set(keys)) == 1
    assert [one.name for one in path.parent.iterdir()] == ["key.json"]


def test_a_file_that_holds_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    """Only a private P-256 key signs proofs."""
    path = tmp_path / "key.json"
    for key in (OctKey.generate_key(256), ECKey.generate_key("P-384")):
        path.write_text(json.dumps(key.as_dict(private=True)))
        with pytest.raises(ValueError, match="P-256"):
            DpopKey.kept(path)


def test_a_login_that_is_over_says_to_log_in_again(person: Terminal, broker: FakeBroker) -> None:
    """The exchange refuses the kept login; no token endpoint helps a person at a terminal."""
    over = {"error": "invalid_request", "code": "token_expired", "detail": "past its end"}
    broker.on("POST /oauth2/token", (400, over))
    done = person.run("agent", "accept", "refund-bot")
    assert done.exit_code == 1
    assert "Log in again" in done.stderr


def test_a_nonce_that_the_broker_asks_for_is_put_into_the_proof(
    bot: Terminal, broker: FakeBroker
) -> None:
    """At the token endpoint and at the call, once each; the platform's proof is the same."""
    challenge = problem("use_dpop_nonce", 400, **{"DPoP-Nonce": "first"})
    broker.on("POST /oauth2/token", (400, challenge), (200, broker.token()))
    broker.on(ROUTE, (401, problem("use_dpop_nonce", 401, **{"DPoP-Nonce": "second"})), NONE)
    assert bot.run(*LIST).exit_code == 0
    asked = broker.made("POST /oauth2/token")
    assert [call.proof.get("nonce") for call in asked] == [None, "first"]
    assert asked[0].form == asked[1].form
    assert [call.proof.get("nonce") for call in broker.made(ROUTE)] == ["first", "second"]


def test_a_broker_that_never_takes_its_own_nonce_is_asked_twice(
    bot: Terminal, broker: FakeBroker
) -> None:
    """And then it is a refusal, not a loop."""
    broker.on(ROUTE, (401, problem("use_dpop_nonce", 401, **{"DPoP-Nonce": "same"})))
    assert bot.run(*LIST).exit_code == 1
    assert len(broker.made(ROUTE)) == 2
