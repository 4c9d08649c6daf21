"""What a delivery came to: work, refusals, dead letters, answers."""

from dataclasses import dataclass

from amends_contracts.amqp import Delivery
from amends_contracts.codec import BadMember
from amends_contracts.messages import Hello
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.engine.work import AnswerTo, Handle, SignalKept, Work


@dataclass(slots=True)
class Reading:
    """What a delivery came to. Empty: acknowledge and be done."""

    works: list[Work]
    refused: tuple[str, ...] = ()
    """Reasons of what was refused at once."""
    dead: str | None = None
    """The whole delivery goes to the dead letters."""
    dead_members: tuple[BadMember, ...] = ()
    """Members of an envelope, or a reply of which the body is bad, that go there alone."""
    handle: Handle | None = None
    """Of these: the delivery is over when all of both are."""
    answer_to: AnswerTo | None = None
    answer: Refused | SignalKept | None = None
    """The answer to a client whose request is over already: refused, or a signal that is kept."""
    hello: Hello | None = None


def held(reading: Reading, delivery: Delivery) -> Reading:
    """A delivery of several is acknowledged when all that it brought is safe."""
    left = len(reading.works) + len(reading.dead_members)
    reading.handle = Handle(delivery.tag, left=left)
    for work in reading.works:
        work.handle = reading.handle
    return reading
