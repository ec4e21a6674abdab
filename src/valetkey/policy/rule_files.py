"""A version of the rules from folders: the texts by the names that they have in every store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from valetkey.core.rules import file_faults
from valetkey.policy.catalogue import read_catalogue
from valetkey.policy.checks import prove
from valetkey.policy.problems import FilesInvalid, Problem
from valetkey.policy.rules import CATALOGUE, POLICIES, TESTS, texts_in
from valetkey.policy.texts import read_folder


@dataclass(frozen=True)
class Folders:
    """Where the parts of a version are on this machine; None for a part that is left out."""

    catalogue: Path | None
    policies: Path | None

    @classmethod
    def below(cls, folder: Path) -> Folders:
        """Those of a reviewed folder that it has."""
        found = (folder / part for part in (CATALOGUE, POLICIES))
        return cls(*(path if path.exists() else None for path in found))

    def files(self) -> dict[str, str]:
        """The texts by name. Raises FilesInvalid with everything that keeps them from being one."""
        problems: list[Problem] = []
        files: dict[str, str] = {}
        for part, place, ending in self._places():
            besides = frozenset({"tests"}) if part == POLICIES else frozenset[str]()
            texts = read_folder(place, ending, problems, besides)
            files |= {f"{part}/{Path(name).name}": text for name, text in texts.items()}
        for name, why in file_faults(files):
            problems.append(self.placed(Problem(name, 0, why)))
        if problems:
            raise FilesInvalid(problems)
        return files

    def check(self, groups: Iterable[str]) -> None:
        """Read, check and test: policies with the catalogue that they are about, also where it is
        not part of this version but stands beside them. Raises FilesInvalid.
        """
        if self.policies is not None and self.catalogue is None:
            return self._with_catalogue().check(groups)
        files = self.files()
        try:
            if self.policies is not None:
                prove(files, groups)
            elif self.catalogue is not None:
                read_catalogue(texts_in(files, CATALOGUE), CATALOGUE)
        except FilesInvalid as wrong:
            raise FilesInvalid(map(self.placed, wrong.problems)) from None

    def _with_catalogue(self) -> Folders:
        assert self.policies is not None
        beside = self.policies.parent / CATALOGUE
        if not beside.exists():
            why = "policies can be checked only with the catalogue beside them"
            raise FilesInvalid([Problem(str(self.policies), 0, why)])
        return Folders(beside, self.policies)

    def placed(self, problem: Problem) -> Problem:
        """The same problem at the place of its file here."""
        for part, place, _ in self._places():
            if problem.file == part or problem.file.rpartition("/")[0] == part:
                name = problem.file.removeprefix(part).removeprefix("/")
                return Problem(str(place / name), problem.line, problem.message)
        return problem

    def _places(self) -> list[tuple[str, Path, str]]:
        found: list[tuple[str, Path, str]] = []
        if self.catalogue is not None:
            found.append((CATALOGUE, self.catalogue, ".yaml"))
        if self.policies is not None:
            found.append((POLICIES, self.policies, ".cedar"))
            if (self.policies / "tests").exists():
                found.append((TESTS, self.policies / "tests", ".yaml"))
        return found
