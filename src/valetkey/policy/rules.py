"""The rules in force: one catalogue and one policy set that fit together, replaced as a whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from valetkey.core.ask import canonical_hash
from valetkey.core.catalogue import Catalogue
from valetkey.core.decision import Decision
from valetkey.core.errors import BrokerError, NotReady
from valetkey.policy.catalogue import load_catalogue, plain, read_catalogue
from valetkey.policy.cedar import CedarPolicy
from valetkey.policy.problems import FilesInvalid, Problem
from valetkey.policy.texts import Texts

log = structlog.get_logger(__name__)

CATALOGUE, POLICIES, TESTS = "catalogue", "policies", "policies/tests"

Gate = Callable[[Catalogue], Iterable[tuple[str, str]]]
"""Names targets for which a catalogue may not become active, each with the reason."""


class NotPinned(FilesInvalid):
    """What is to be in force may not be yet: its pins were not seen, or nobody put it in force."""


@dataclass(frozen=True)
class Rules:
    """One version of catalogue and policy, with the number of the activation it came by, if any."""

    catalogue: Catalogue
    policy: CedarPolicy
    number: int | None = None

    @property
    def version(self) -> tuple[str, str]:
        """Catalogue digest and policy hash."""
        return self.catalogue.digest, self.policy.hash

    def outline(self) -> Mapping[str, str]:
        """Each target, scope and policy by name, with a digest of what is said of it."""
        said: dict[str, object] = {}
        for target in self.catalogue.targets.values():
            whole = asdict(target)
            scopes = whole.pop("scopes")
            said[f"target {target.name}"] = plain(whole)
            said |= {f"scope {target.name}:{name}": plain(x) for name, x in scopes.items()}
        said |= {f"policy {policy.id}": policy.text for policy in self.policy.files.policies}
        return {name: canonical_hash({"says": what}) for name, what in said.items()}

    def again(self, recorded: Mapping[str, object]) -> Decision | None:
        """Decide a recorded input under these rules; None when they know no such scope."""
        return self.policy.again(recorded)


def load_rules(catalogue: Path, policies: Path, groups: Iterable[str]) -> Rules:
    """Read both folders. Raises CatalogueInvalid or PolicyInvalid with every problem found."""
    found = load_catalogue(catalogue)
    return Rules(found, CedarPolicy.load(policies, found, groups))


def read_rules(files: Texts, groups: Iterable[str]) -> Rules:
    """The same from texts by name, as `catalogue/orders-db.yaml` and `policies/read.cedar`.

    Policy tests, `policies/tests/*.yaml`, are another matter (`policy.checks`).
    """
    found = read_catalogue(texts_in(files, CATALOGUE), CATALOGUE)
    return Rules(found, CedarPolicy.read(texts_in(files, POLICIES), POLICIES, found, groups))


def texts_in(files: Texts, folder: str) -> dict[str, str]:
    """Those directly in one folder."""
    return {name: text for name, text in files.items() if name.rpartition("/")[0] == folder}


class ActiveRules:
    """Holds the rules in force; a broken or unpinned new version leaves the last good one."""

    def __init__(self, load: Callable[[], Rules], gate: Gate = lambda _: ()) -> None:
        """Load the first version; raises FilesInvalid when the files are broken.

        Files that are sound but not pinned, a back end that cannot be asked yet, and any fault of
        reading leave no rules in force until a reload finds that they may be.
        """
        self._load = load
        self._gate = gate
        self._reloading = threading.Lock()
        self._problems: tuple[Problem, ...] = ()
        self._rules: Rules | None = None
        try:
            self._rules = self._checked()
        except NotPinned as missing:
            self._keep(missing.problems)
        except FilesInvalid:
            raise
        except Exception as error:  # noqa: BLE001 - other rules must still find somebody here
            self._keep(_why(error))

    def current(self) -> Rules:
        """The rules in force; raises NotReady while there are none."""
        rules = self._rules
        if rules is None:
            raise NotReady("no catalogue is active yet", retry_after=5)
        return rules

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why the newest files are not in force; empty when they are."""
        return self._problems

    @property
    def missing(self) -> tuple[Problem, ...]:
        """Why there are no rules in force at all; empty when there are."""
        return self._problems if self._rules is None else ()

    def number(self) -> int | None:
        """The number of the activation in force, where rules come by activations."""
        return self._rules.number if self._rules is not None else None

    def reload(self) -> bool:
        """Read the files again; False, loudly, when the last good version stays in force."""
        with self._reloading:
            try:
                fresh = self._checked()
            except FilesInvalid as error:
                return self._keep(error.problems)
            except Exception as error:  # noqa: BLE001 - the last good rules must stay
                return self._keep(_why(error))
            if self._rules is None or fresh.version != self._rules.version:
                log.info("rules_activated", catalogue=fresh.version[0], policy=fresh.version[1])
            self._rules, self._problems = fresh, ()
            return True

    def _keep(self, problems: tuple[Problem, ...]) -> bool:
        self._problems = problems
        kept = self._rules.version if self._rules else None
        log.error("rules_refused", kept=kept, problems=[str(p) for p in problems])
        return False

    def _checked(self) -> Rules:
        rules = self._load()
        missing = sorted(self._gate(rules.catalogue))
        if missing:
            raise NotPinned(Problem(name, 0, why) for name, why in missing)
        return rules


def _why(error: Exception) -> tuple[Problem, ...]:
    """What is told of an error that is not about the files themselves."""
    if isinstance(error, BrokerError):
        return (Problem("", 0, error.detail),)
    return (Problem("", 0, f"could not be read: {type(error).__name__}"),)
