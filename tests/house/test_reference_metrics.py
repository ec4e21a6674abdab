"""docs/reference/metrics.md names every metric with its kind and labels."""

from __future__ import annotations

from prometheus_client.metrics import MetricWrapperBase

from tests.house.pages import rows
from valetkey.web.metrics import Metrics


def test_every_metric_is_documented_with_its_labels() -> None:
    """Name, kind and labels of each metric of the registry, and of no other."""
    metrics = Metrics()
    meant = set()
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (described,) = metric.describe()
            labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "none"
            meant.add((f"`{described.name}`", described.type, labels))
    assert meant
    told = {row[:3] for row in rows("metrics.md") if len(row) == 4}
    assert told == meant
