"""What every refusal is: a stable code, a public sentence, and what to do now."""

from __future__ import annotations

from typing import Any, ClassVar


class BrokerError(Exception):
    """Something went wrong inside Valetkey.

    That is what the class itself tells; each kind of refusal is a subclass.
    """

    code: ClassVar[str] = "internal"
    next_action: ClassVar[str] = "Report this with the time; it is a defect of Valetkey."

    def __init__(
        self,
        detail: str = "",
        *,
        retry_after: float | None = None,
        decision_id: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").splitlines()[0]
        self.retry_after = retry_after
        self.decision_id = decision_id
        self.extra = extra or {}
        self.recorded = False
        self.task_id: str | None = None
        super().__init__(f"{self.code}: {self.detail}")
