"""The chart, and what it renders for each values file that ships with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "valetkey"
VALUES = sorted(path.stem for path in (CHART / "ci").glob("*.yaml"))
Objects = dict[tuple[str, str], dict[str, Any]]


def values_of(name: str) -> dict[str, Any]:
    """One of the chart's example values files."""
    found = yaml.safe_load((CHART / "ci" / f"{name}.yaml").read_text())
    assert isinstance(found, dict)
    return found


def rendered(chart: helm_python.Chart, values: dict[str, Any]) -> Objects:
    """Every object by kind and part (serve or migrate), as an installation would make them."""
    objects: Objects = {}
    for name, text in chart.render(values, name="demo", namespace="prod").items():
        if name.endswith(".yaml"):
            for document in filter(None, yaml.safe_load_all(text)):
                part = document["metadata"]["labels"]["app.kubernetes.io/component"]
                assert (document["kind"], part) not in objects
                objects[document["kind"], part] = document
    return objects


@pytest.fixture(scope="session")
def chart() -> Iterator[helm_python.Chart]:
    """The chart, loaded once."""
    with helm_python.Chart.load(str(CHART)) as loaded:
        yield loaded


@pytest.fixture(scope="session", params=VALUES)
def objects(request: pytest.FixtureRequest, chart: helm_python.Chart) -> Objects:
    """What one values file renders."""
    return rendered(chart, values_of(request.param))


@pytest.fixture(scope="session")
def production(chart: helm_python.Chart) -> Objects:
    """What the production-like values render."""
    return rendered(chart, values_of("production"))
