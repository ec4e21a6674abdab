"""The command line: one file per noun, imported only when its command is used.

Exit codes: 0 done, 1 refused, 2 usage, 3 waiting for people or for an end, 4 unreachable.
"""

from __future__ import annotations


def main() -> None:
    """Run `valetkey`."""
    from valetkey.cli.tree import valetkey

    valetkey(prog_name="valetkey", windows_expand_args=False)
