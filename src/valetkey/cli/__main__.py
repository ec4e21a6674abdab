"""`python -m valetkey.cli` is `valetkey`."""

from __future__ import annotations

from valetkey.cli import main

if __name__ == "__main__":
    main()
