"""The tree of commands. Each line names a command, where it is, and its sentence in `--help`."""

from __future__ import annotations

from importlib import import_module

import click

import valetkey as package

COMMANDS = {
    "dev": ("dev:dev", "Run PostgreSQL, OpenBao, an issuer and Valetkey on this machine."),
    "demo": ("demo:demo", "Tell the whole story of a credential on a stack of its own."),
    "serve": ("operate:serve", "Serve the API and end what is due."),
    "migrate": ("operate:migrate", "Bring the database schema to this version."),
    "installation": ("installation:installation", "Our name outside; a new epoch after a restore."),
    "keys": ("keys:keys", "Make the next signing key, and see where each stands."),
    "sweep": ("operate:sweep", "End everything that is due now."),
    "reconcile": ("operate:reconcile", "Compare leases with what exists outside, both ways."),
    "doctor": ("operate:doctor", "Look for broken invariants."),
    "login": ("login:login", "Log in as a person."),
    "logout": ("login:logout", "Forget the login of this profile."),
    "whoami": ("login:whoami", "Show who the broker says we are."),
    "agent": ("agent:agent", "Register, bind, accept, disable and look at agents."),
    "apply": ("apply:apply", "Make agents and rules equal to reviewed files, as a CI job."),
    "rules": ("rules:rules", "Versions of catalogue and policies; go back to one."),
    "delegation": ("delegation:delegation", "Let an agent act for you; take it back."),
    "task": ("task:task", "Start, end and look at tasks."),
    "request": ("credential:request", "Ask for a credential."),
    "run": ("run:run", "Run a command with a credential that ends with it."),
    "explain": ("credential:explain", "Show the decision that a request would get."),
    "catalogue": ("catalogue:catalogue", "Show what may be asked for; check catalogue files."),
    "grant": ("grant:grant", "Look at grants; approve, deny, collect, withdraw them."),
    "lease": ("lease:lease", "Look at leases, their lineage; revoke them."),
    "kill": ("kill:kill", "Stop everything at one height until it is released."),
    "token": ("token:token", "Revoke tokens that Valetkey gave."),
    "leak": ("leak:leak", "Report a credential that turned up where it should not."),
    "policy": ("policy:policy", "Check and test policy files."),
    "history": ("history:history", "Search the record of what happened."),
}


class Tree(click.Group):
    """A group whose commands are imported only when they are used or asked for help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None when there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        found: click.Command = getattr(import_module(f"valetkey.cli.{module}"), name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])


@click.command(cls=Tree)
@click.option("--profile", envvar="VALETKEY_PROFILE", default="default", help="Profile to use.")
@click.version_option(package.__version__, prog_name="valetkey")
@click.pass_context
def valetkey(ctx: click.Context, profile: str) -> None:
    """Just-in-time credentials for non-human identities, whose revocations are proven.

    Exit codes: 0 done, 1 refused, 2 usage, 3 waiting, 4 unreachable.
    """
    ctx.obj = profile
