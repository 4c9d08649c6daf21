"""The services of `examples/refund` with SDK: right, or with an undo that does nothing."""

from amends_participants import Effect, Participant, Undo
from refund.refund import Note, Paid, Refund


def services(disputed: set[str], *, undoes: bool = True) -> tuple[Participant, Participant]:
    """Orders keeps marks, by key, where the caller sees them; payments pays, and keeps nothing."""
    orders, payments = Participant("orders"), Participant("payments")

    @orders.action(Note, drill="an order of its own")
    async def note(cmd: Note, effect: Effect) -> None:
        disputed.add(effect.key)

    @orders.compensation(Note)
    async def take_away(undo: Undo[Note, None]) -> None:
        if undoes:
            disputed.discard(undo.key)

    @payments.action(Refund, drill="a test account")
    async def pay(cmd: Refund, effect: Effect) -> Paid:
        return Paid(id=effect.key)

    return orders, payments
