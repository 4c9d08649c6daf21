"""How a command ended, as it travels: whatever a handler said, the orchestrator can read it."""

import math
from dataclasses import replace
from typing import Any

import pytest

from amends_contracts.codec import decode_reply
from amends_contracts.messages import Command, Outcome, ProbeEffect, to_body
from amends_contracts.names import BODY_BYTES_MAX, MessageId, Op, SagaId, StepPath, key_of
from amends_contracts.problems import Problem
from amends_contracts.topology import Topology
from amends_participants.barrier.rules import Answer
from amends_participants.effects import Effect
from amends_participants.outcomes import crashed, failed, unknown
from amends_participants.runtime.passive import probe_answer
from amends_participants.runtime.replies import reply_message

SAGA = SagaId("01980000-0000-7000-8000-000000000001")
KEY = key_of(SAGA, StepPath("flight"), Op.ACTION)
COMMAND = Command(
    type="flights.reserve",
    op=Op.ACTION,
    message_id=MessageId(f"{SAGA}:flight:action:1"),
    body=b"{}",
    saga_id=SAGA,
    reply_to="reply.flights.00",
    key=KEY,
)
HALF = "\udcff"
"""A byte that is no UTF-8, as Python shows it in the name of a file."""
LONG = "x" * (BODY_BYTES_MAX + 1)


@pytest.mark.parametrize(
    "answer",
    [
        failed(Problem(type=f"no-{HALF}", title=HALF, detail=f"{HALF} is not there")),
        failed(Problem(type=LONG, title=LONG, detail=LONG)),
        unknown(Problem(type=LONG, detail=HALF + LONG)),
        crashed(OSError(f"no file {HALF}"), rolled_back=False),
    ],
    ids=["half a character", "too long", "both", "of an exception"],
)
def test_a_problem_that_a_handler_made_can_travel(answer: Answer) -> None:
    """It was stored with its row: if its reply could not be written, no attempt were answered."""
    reply = decode_reply(reply_message(COMMAND, answer, Topology()))
    assert reply.outcome is answer.outcome
    assert reply.problem().type
    assert len(reply.body) < 8 * 1024


@pytest.mark.parametrize(
    ("given", "said"),
    [(-3.5, 0.0), (math.inf, 2.0**31 - 1), (math.nan, None), (1e12, 2.0**31 - 1), (2.5, 3.0)],
)
def test_a_wait_that_no_header_can_say_is_the_nearest_one(given: float, said: float | None) -> None:
    """`reset_at - now` is negative where the limit is over already."""
    answer = failed(Problem(type="busy"), retryable=True, retry_after_s=given)
    reply = decode_reply(reply_message(COMMAND, answer, Topology()))
    assert (reply.outcome, reply.retry_after_s) == (Outcome.FAILED, said)


@pytest.mark.parametrize("over", [False, True])
def test_a_present_output_that_does_not_fit_with_its_wrapper_is_null(over: bool) -> None:
    """An output may have as many bytes as a body; around it there is no room for `present`."""
    room = BODY_BYTES_MAX - len(b'{"effect":"present","output":}')
    output = {"text": "x" * (room - len(b'{"text":""}') + over)}
    probe = replace(COMMAND, op=Op.PROBE, compensates=COMMAND.key, digest=None)
    answer = probe_answer(ProbeEffect.PRESENT, to_body(output))
    reply = decode_reply(reply_message(probe, answer, Topology()))
    assert reply.json() == {"effect": "present", "output": None if over else output}


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -1])
@pytest.mark.parametrize("name", ["input_tokens", "output_tokens", "usd"])
def test_a_usage_that_is_no_amount_is_refused_at_the_call(name: str, wrong: Any) -> None:
    """It could not travel: the handler's author hears of it, with the name and the value."""
    effect = Effect(key=KEY, attempt=1, saga_id=SAGA, step="flight")
    said: dict[str, Any] = {"input_tokens": 1, "output_tokens": 2, "usd": 0.5, name: wrong}
    with pytest.raises(ValueError, match=rf"{name} is {wrong}: "):
        effect.used(model="m-1", **said)
    assert effect.usage is None


@pytest.mark.parametrize("tokens", [2**53 + 1, 1.5, True])
def test_tokens_are_a_whole_number_that_can_travel(tokens: Any) -> None:
    """What the orchestrator would refuse is refused before it is sent."""
    effect = Effect(key=KEY, attempt=1, saga_id=SAGA, step="flight")
    with pytest.raises(ValueError, match="input_tokens is"):
        effect.used(model="m-1", input_tokens=tokens, output_tokens=0, usd=None)
