"""What the undo lane asks without undoing: `probe`, `ledger`, `forget`."""

import asyncio
import json
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from amends_contracts.messages import Command, Json, Outcome, ProbeEffect, to_body
from amends_contracts.names import Key, Op
from amends_contracts.problems import Problem, ProblemType
from amends_participants.app import Registration
from amends_participants.barrier import rules, store
from amends_participants.barrier.rules import Answer, Move, Row, State
from amends_participants.effects import effect_of
from amends_participants.outcomes import refusal, unknown
from amends_participants.runtime import invoke, passive
from amends_participants.runtime.invoke import Ended
from amends_participants.runtime.scope import Scope
from amends_participants.runtime.transactional import Busy, claimed

IN_DOUBT: Final = unknown(Problem(type=ProblemType.RUNNING, title="an attempt is at work"))
NOT_FOUND: Final = refusal(ProblemType.CLOSED, "a probe looked and found no effect", retryable=True)


async def probe(scope: Scope, registration: Registration, command: Command) -> Answer:
    """Close the action's attempts so far, then say what became of them."""
    try:
        answer = await scope.database.transact(lambda tx: _close(scope, tx, command))
    except Busy:
        return IN_DOUBT
    if answer is not None:
        return answer
    try:
        found = await _look(registration, command)
    except Ended as ended:
        # a probe that fails has told nothing
        body = ended.answer.body
        return Answer(outcome=Outcome.UNKNOWN, body=body)
    try:
        return await scope.database.transact(lambda tx: _note_found(tx, scope, command, found))
    except Busy:
        return IN_DOUBT


async def ledger(scope: Scope, command: Command) -> Answer:
    """Which effects of this saga this service holds."""
    saga_id = command.saga_id
    assert saga_id is not None
    held = await scope.database.transact(
        lambda tx: store.effects_of_saga(tx, saga_id, scope.service)
    )
    effects: list[Json] = []
    for one in held:
        effect = {State.SUCCEEDED: "present", State.UNDONE: "undone"}.get(one.state, "unknown")
        known = one.state in {State.SUCCEEDED, State.UNDONE} and one.body is not None
        output: Json = json.loads(one.body) if known and one.body is not None else None
        effects.append({"key": one.key, "command": one.command, "effect": effect, "output": output})
    return Answer(outcome=Outcome.SUCCEEDED, body=to_body({"effects": effects}))


async def forget(scope: Scope, command: Command) -> None:
    """These sagas are over: their keys may go in seven days. Whatever else is in it is ignored."""
    body: Json = command.json()
    sagas = [s for s in body.get("sagas", []) if isinstance(s, str)]
    while True:
        try:
            await scope.database.transact(lambda tx: claimed(_forget(tx, sagas, scope.service)))
        except Busy:
            await asyncio.sleep(0.2)
        else:
            return


async def _forget(tx: AsyncConnection, sagas: list[str], service: str) -> None:
    await store.forget(tx, sorted(sagas), service)


async def _close(scope: Scope, tx: AsyncConnection, command: Command) -> Answer | None:
    """The answer by the row alone; None: the outcome is in doubt, look outside."""
    key = _action_key(command)
    while True:
        row = (await claimed(store.lock_rows(tx, [key]))).get(key)
        move = rules.on_probe(row)
        match move:
            case Move.CLOSE if row is None:
                made = await claimed(
                    store.close_absent(tx, key, scope.service, command.type, command.attempt)
                )
                if made:
                    return passive.probe_answer(ProbeEffect.ABSENT)
            case Move.CLOSE | Move.ABSENT:
                await store.close_attempts(tx, key, command.attempt)
                return passive.probe_answer(ProbeEffect.ABSENT)
            case Move.PRESENT:
                return _present(row)
            case Move.UNDONE:
                return passive.probe_answer(ProbeEffect.UNDONE)
            case Move.IN_DOUBT:
                return IN_DOUBT
            case Move.LOOK:
                await store.close_attempts(tx, key, command.attempt)
                return None
            case _:
                raise AssertionError(f"no answer to a probe: {move}")


async def _look(registration: Registration, command: Command) -> Answer | None:
    body: Json = command.json()
    effect = effect_of(command)
    effect.key = _action_key(command)
    return await invoke.look(registration, body.get("input", body), effect)


async def _note_found(
    tx: AsyncConnection, scope: Scope, command: Command, found: Answer | None
) -> Answer:
    """Keep what a look has found, if the outcome is still in doubt."""
    key = _action_key(command)
    row = (await claimed(store.lock_rows(tx, [key]))).get(key)
    if row is not None and row.state is State.UNKNOWN:
        await store.record(
            tx,
            key,
            scope.service,
            row.command,
            Op.ACTION,
            attempt=command.attempt,
            digest=None,
            answer=NOT_FOUND if found is None else found,
        )
    elif row is not None and row.state is State.UNDONE:
        return passive.probe_answer(ProbeEffect.UNDONE)
    elif row is not None and row.state is State.RUNNING:
        return IN_DOUBT
    if found is None:
        return passive.probe_answer(ProbeEffect.ABSENT)
    return passive.probe_answer(ProbeEffect.PRESENT, found.body)


def _present(row: Row | None) -> Answer:
    assert row is not None
    assert row.answer is not None
    return passive.probe_answer(ProbeEffect.PRESENT, row.answer.body)


def _action_key(command: Command) -> Key:
    assert command.compensates is not None, "the codec asks for it"
    return command.compensates
