"""docs/reference/settings.md says what valetkey.settings says, no more and no less."""

from __future__ import annotations

from tests.house.pages import rows, settings_rows


def test_every_setting_is_documented_with_its_default_and_sentence() -> None:
    """A setting added, changed or removed without its row fails here, and the row is shown."""
    told = {row for row in rows("settings.md") if len(row) == 3}
    meant = set(settings_rows())
    missing = sorted("| " + " | ".join(row) + " |" for row in meant - told)
    assert not missing, "add to docs/reference/settings.md:\n" + "\n".join(missing)
    assert not told - meant, f"no such setting: {sorted(told - meant)}"


def test_every_setting_has_a_sentence() -> None:
    """A setting without a description cannot be documented."""
    assert [row[0] for row in settings_rows() if not row[2].endswith(".")] == []
