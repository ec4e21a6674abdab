"""Our small evaluator of the Condition element of IAM policy documents.

AWS publishes the rules, but no program that judges by them, so these are written from the IAM user
guide ("Condition operators", "Conditions with multiple context keys or values", "Single-valued
vs. multivalued context keys") and held to a table of its statements
(`tests/aws/test_conditions.py`). What is not known here raises `Unsupported`: it is never
silently true or false.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from valetkey.devstack.aws.asked import Fill, Malformed, Request, Unsupported, Values, plain
from valetkey.devstack.aws.operators import NULL, OPERATORS, Operator


@dataclass(frozen=True)
class Condition:
    """One line of a Condition block: operator, key, the values in the policy, and qualifiers.

    `variables`: the document knows policy variables. `qualifier`: ForAllValues, ForAnyValue or
    nothing.
    """

    operator: Operator
    key: str
    wanted: tuple[str, ...]
    variables: bool
    if_exists: bool = False
    qualifier: str = ""

    def holds(self, request: Request) -> bool:
        """Tell whether this line is true for `request`. Raises Unsupported."""
        found = request.value(self.key)
        fill = request.fill if self.variables else plain
        if self.operator is NULL:
            return any((found is None) == (wanted.lower() == "true") for wanted in self.wanted)
        if self.qualifier:
            return self._of_a_set(found, fill)
        if found is None:
            return self.if_exists or self.operator.negated
        if not isinstance(found, str):
            raise Unsupported(f"{self.key} has several values and the operator no qualifier")
        return self._one(found, fill)

    def _of_a_set(self, found: Values | None, fill: Fill) -> bool:
        """ForAllValues is true of no values at all; ForAnyValue is false."""
        if found is None and self.if_exists:
            return True
        values = (found,) if isinstance(found, str) else found or ()
        tests = (self._one(value, fill) for value in values if value)
        return all(tests) if self.qualifier == "ForAllValues" else any(tests)

    def _one(self, value: str, fill: Fill) -> bool:
        """Any of the policy's values (OR); with a negated operator none of them (NOR)."""
        hit = any(self.operator.matches(wanted, value, fill) for wanted in self.wanted)
        return hit != self.operator.negated


def parse(block: object, *, variables: bool) -> tuple[Condition, ...]:
    """Return the lines of a Condition element, all of which must hold.

    `variables`: the document's Version knows policy variables (2012-10-17). Raises Malformed
    where AWS refuses the document, Unsupported where we do not know the outcome.
    """
    if not isinstance(block, Mapping):
        raise Malformed("Condition is no object")
    return tuple(
        _line(name, key, _values(given), variables)
        for name, lines in block.items()
        for key, given in _pairs(lines)
    )


def _pairs(lines: object) -> Iterable[tuple[str, object]]:
    if not isinstance(lines, Mapping):
        raise Malformed("a condition operator holds no object")
    return lines.items()


def _line(name: str, key: str, wanted: tuple[str, ...], variables: bool) -> Condition:
    qualifier, _, bare = name.rpartition(":")
    if_exists = bare.endswith("IfExists")
    operator = OPERATORS.get(bare.removesuffix("IfExists"))
    if qualifier not in ("", "ForAllValues", "ForAnyValue") or operator is None:
        raise Unsupported(f"condition operator {name}")
    if operator is NULL and (if_exists or qualifier):
        raise Unsupported(f"condition operator {name}")
    if variables and not operator.variables and any("${" in value for value in wanted):
        raise Unsupported(f"a policy variable in {name}")
    for value in wanted:
        try:
            operator.check(value)
        except ValueError:
            raise Malformed(f"a value of {name} cannot be read") from None
    return Condition(operator, key, wanted, variables, if_exists, qualifier)


def _values(given: object) -> tuple[str, ...]:
    found = tuple(_text(value) for value in (given if isinstance(given, list) else [given]))
    if not found:
        raise Unsupported("a condition without a value")
    return found


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise Malformed("a condition value is neither text, number nor boolean")
