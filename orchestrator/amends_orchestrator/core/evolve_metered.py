"""What facts change of what a saga has spent and reserved; a part of `evolve`."""

from amends_orchestrator.core import journal as j
from amends_orchestrator.core.journal import Event
from amends_orchestrator.core.metering import LOST, Meter, amount_from_json


def metered(meter: Meter, event: Event) -> Meter:
    """The meter after a fact. An attempt that a person ends may have been paid for."""
    match event:
        case j.StepDispatched(path=path, reserved=reserved) if reserved is not None:
            return meter.reserve(path, amount_from_json(reserved))
        case (
            j.StepRetrying()
            | j.StepDoubted()
            | j.StepSucceeded()
            | j.StepFailed()
            | j.StepUnknown()
            | j.StepAlarmed()
            | j.StepLate()
        ):
            return meter.settle(event.path, event.usage)
        case j.OperatorRetried() | j.OperatorSkipped() | j.OperatorResolved():
            return meter.settle(event.path, LOST)
        case _:
            return meter
