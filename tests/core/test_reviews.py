"""Reviews: who may decide what, once, in time, and that what was approved is what runs."""

from datetime import timedelta
from typing import Any

import pytest

from amends_contracts.messages import Outcome, digest_of, to_body
from amends_contracts.problems import ProblemType
from amends_orchestrator.core import Decision, Refused
from amends_orchestrator.core.reviews import review_id, split_review_id
from core.dsl import (
    BEGAN,
    IDENTITY,
    Scenario,
    action,
    alternatives,
    definition,
    each,
    failed,
    given,
    parallel,
    review,
    succeeded,
)

FORM = {"type": "object", "properties": {"usd": {"type": "number"}}}


def guarded(**guard: Any) -> Scenario:
    """A refund waits for a review; an order was noted before it."""
    refund = action("refund", input={"usd": "${ input.usd }"}, review={"form": FORM, **guard})
    saga = given(definition(action("note"), refund), usd=250)
    saga.expect("notes.do").reply(succeeded())
    return saga


def refused(answer: Decision | Refused) -> tuple[ProblemType, str]:
    """Why, in type and words."""
    assert isinstance(answer, Refused), answer
    return answer.type, answer.detail


def test_an_action_waits_until_it_is_approved_and_is_sent_as_it_was_shown() -> None:
    """The guard shows the rendered body; what is dispatched has its digest."""
    saga = guarded()
    saga.expect_nothing()
    assert saga.status("refund") == "pending"
    shown = saga.step("refund").review
    assert saga.rows[shown.seq - 1].data["show"] == {"usd": 250}
    assert shown.digest == digest_of(to_body({"usd": 250}))
    saga.decides("refund", "approve")
    sent = saga.expect("refunds.do", usd=250)
    assert digest_of(sent.send.body) == shown.digest
    sent.reply(succeeded())
    saga.ends("completed")
    assert saga.kinds()[3:8] == [
        "review.requested refund",
        "review.decided refund",
        "review.approved refund",
        "step.dispatched refund",
        "step.succeeded refund",
    ]


def test_a_reject_undoes_what_came_before() -> None:
    """Nothing of the action is ever sent; the reviewer's word is the saga's failure."""
    saga = guarded()
    saga.decides("refund", "reject", comment="too much")
    saga.expect("notes.undo").reply(succeeded())
    saga.ends("compensated")
    failure = saga.saga.state.failure
    assert failure is not None
    assert (failure.type, failure.detail) == (ProblemType.REJECTED, "rejected by bea: too much")


def test_a_rejected_action_that_may_fail_is_passed_by() -> None:
    """`on_failure: ignore` holds for a reject, too."""
    saga = given(definition(action("refund", on_failure="ignore", review={}), action("mail")))
    saga.decides("refund", "reject")
    saga.expect("mails.do").reply(succeeded())
    saga.ends("completed")


def test_an_edit_is_sent_in_place_of_what_was_shown() -> None:
    """The editor has approved it by editing."""
    saga = guarded()
    saga.decides("refund", "edit", body={"usd": 100})
    saga.expect("refunds.do", usd=100)
    assert saga.step("refund").review.digest == digest_of(to_body({"usd": 100}))


def test_an_edit_voids_earlier_approvals() -> None:
    """Of two that must approve, the first has approved something else; so has who looked before."""
    saga = guarded(quorum=2)
    before = saga.step("refund").review.digest
    saga.decides("refund", "approve", "ann")
    saga.decides("refund", "edit", "bea", body={"usd": 100})
    saga.expect_nothing()
    stale = saga.decides("refund", "approve", "cleo", shown_digest=before)
    assert refused(stale)[0] is ProblemType.REVIEW_CHANGED
    saga.decides("refund", "approve", "ann")
    saga.expect("refunds.do", usd=100)


def test_a_quorum_counts_people_not_clicks() -> None:
    """One decision per reviewer; the second approval is somebody else's."""
    saga = guarded(quorum=2)
    saga.decides("refund", "approve", "ann")
    rows = len(saga.rows)
    again = saga.decides("refund", "approve", "ann")
    assert refused(again) == (ProblemType.WRONG_STATE, "ann has decided this already")
    edit = saga.decides("refund", "edit", "ann", body={"usd": 1})
    assert refused(edit) == (ProblemType.WRONG_STATE, "ann has decided this already")
    assert len(saga.rows) == rows
    saga.decides("refund", "approve", "bea")
    saga.expect("refunds.do")


def test_with_a_quorum_the_first_reject_decides() -> None:
    """However many have approved before."""
    saga = guarded(quorum=3)
    saga.decides("refund", "approve", "ann")
    saga.decides("refund", "reject", "bea")
    saga.expect("notes.undo")
    late = saga.decides("refund", "approve", "cleo")
    assert refused(late) == (ProblemType.WRONG_STATE, "the review is over: rejected")


def test_a_decision_on_another_digest_is_refused() -> None:
    """What was shown is not what would run."""
    saga = guarded()
    rows = len(saga.rows)
    answer = saga.decides("refund", "approve", shown_digest="0" * 64)
    assert refused(answer)[0] is ProblemType.REVIEW_CHANGED
    assert len(saga.rows) == rows
    saga.expect_nothing()


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        ({"usd": 250}, "nothing was changed: approve it"),
        ([1], "the edited body must be an object, not list"),
        ({"usd": float("nan")}, "the edited body is no JSON text"),
        ({"usd": "9" * 300_000}, "the edited body has 300010 bytes"),
    ],
)
def test_an_edit_that_cannot_be_sent_is_refused(edit: Any, why: str) -> None:
    """It would fail at dispatch, when nobody looks any more."""
    saga = guarded()
    kind, detail = refused(saga.decides("refund", "edit", body=edit))
    assert (kind, detail[: len(why)]) == (ProblemType.BAD_REQUEST, why)
    assert saga.status("refund") == "pending"


def test_only_who_is_asked_decides() -> None:
    """By name, or by a role that they hold; a service without keys knows nobody apart."""
    saga = guarded(assignees=["ann", "role:lead"], quorum=3)
    answer = saga.decides("refund", "approve", "bea", roles=frozenset({"clerk"}))
    assert refused(answer) == (
        ProblemType.FORBIDDEN,
        "this review is for ann, role:lead, not for bea",
    )
    assert isinstance(saga.decides("refund", "approve", "ann"), Decision)
    by_role = saga.decides("refund", "approve", "bea", roles=frozenset({"lead"}))
    assert isinstance(by_role, Decision)
    anybody = saga.decides("refund", "approve", "local", roles=frozenset({"*"}))
    assert isinstance(anybody, Decision)
    saga.expect("refunds.do")


def test_a_role_is_not_a_name() -> None:
    """Who is called `role:lead` does not hold the role, nor does the name `lead`."""
    saga = guarded(assignees=["role:lead"])
    assert refused(saga.decides("refund", "approve", "lead"))[0] is ProblemType.FORBIDDEN


def test_who_started_the_saga_may_not_approve_it() -> None:
    """`not_requester`: four eyes."""
    saga = guarded(not_requester=True)
    answer = saga.decides("refund", "approve", "test")
    assert refused(answer)[0] is ProblemType.FORBIDDEN
    saga.decides("refund", "approve", "bea")
    saga.expect("refunds.do")


def test_assignees_come_from_the_saga() -> None:
    """A template, as everything that is shown."""
    saga = given(
        definition(action("refund", review={"assignees": ["${ input.lead }"], "title": "Pay?"})),
        lead="bea",
    )
    assert saga.step("refund").review.assignees == ("bea",)
    assert saga.rows[-1].data["title"] == "Pay?"


def test_a_guard_with_a_condition_asks_only_where_it_holds() -> None:
    """`action.input` is the body that waits."""
    when = "${ action.input.usd > 100 }"
    guarded(when=when).expect_nothing()
    refund = action("refund", input={"usd": "${ input.usd }"}, review={"when": when})
    given(definition(refund), usd=50).expect("refunds.do", usd=50)


def test_a_step_of_its_own_gives_what_was_approved() -> None:
    """Its output is what was shown, or edited."""
    saga = given(
        definition(
            review("offer", show={"usd": "${ input.usd }"}, form=FORM, quorum=2),
            action("mail", input={"usd": "${ steps.offer.output.usd }"}),
        ),
        usd=250,
    )
    saga.decides("offer", "edit", "ann", body={"usd": 200})
    saga.decides("offer", "approve", "bea", comment="fine")
    saga.expect("mails.do", usd=200)
    assert saga.status("offer") == "succeeded"
    assert [row.data for row in saga.rows if row.kind == "step.reviewed"] == [
        {"output": {"usd": 200}}
    ]


def test_nobody_in_time_is_a_reject() -> None:
    """By the database's clock, and not a moment early."""
    saga = guarded(expires="PT1H")
    assert saga.saga.wake_at == BEGAN + timedelta(hours=1)
    saga.after(minutes=59, seconds=59)
    assert saga.status("refund") == "pending"
    saga.after(seconds=1)
    saga.expect("notes.undo").reply(succeeded())
    saga.ends("compensated")
    assert saga.step("refund").review.stage == "expired"


def test_a_decision_at_the_moment_of_expiry_is_too_late() -> None:
    """Also where the saga has not been woken yet."""
    saga = guarded(expires="PT1H")
    saga.now += timedelta(hours=1)
    kind, detail = refused(saga.decides("refund", "approve"))
    assert (kind, detail[:22]) == (ProblemType.WRONG_STATE, "the review expired at ")


def test_nobody_in_time_may_be_an_approval() -> None:
    """`on_expiry: approve`: what was shown runs, approved by nobody."""
    saga = guarded(expires="PT1H", on_expiry="approve")
    saga.after(hours=1)
    saga.expect("refunds.do", usd=250)
    assert saga.step("refund").review.approved_by == ()


def test_nobody_in_time_may_be_somebody_else_s_to_decide_once() -> None:
    """`escalate`: those named get as much time again; then it is a reject."""
    fields: dict[str, Any] = {"on_expiry": "escalate", "escalate_to": ["role:lead"]}
    saga = guarded(assignees=["ann"], expires="PT1H", **fields)
    saga.after(hours=1)
    assert refused(saga.decides("refund", "approve", "ann"))[0] is ProblemType.FORBIDDEN
    assert saga.saga.wake_at == BEGAN + timedelta(hours=2)
    saga.after(hours=1)
    assert saga.step("refund").review.stage == "expired"
    saga.expect("notes.undo")


def test_an_approval_that_is_not_used_in_time_is_asked_for_again() -> None:
    """`valid_for` bounds the time from the approval to the dispatch, also over a suspension."""
    saga = guarded(valid_for="PT10M")
    first = saga.step("refund").review.seq
    saga.suspends()
    saga.decides("refund", "edit", body={"usd": 100})
    saga.now += timedelta(minutes=11)
    saga.resumes()
    saga.expect_nothing()
    again = saga.step("refund").review
    assert (again.stage, saga.rows[again.seq - 1].data["lapsed"]) == ("open", first)
    assert saga.rows[again.seq - 1].data["show"] == {"usd": 100}
    saga.decides("refund", "approve")
    saga.expect("refunds.do", usd=100)


def test_a_suspended_saga_records_a_decision_and_sends_nothing() -> None:
    """It goes on when it is resumed."""
    saga = guarded()
    saga.suspends()
    saga.decides("refund", "approve")
    saga.expect_nothing()
    saga.resumes()
    saga.expect("refunds.do")


def test_a_saga_that_turns_back_asks_nobody_any_more() -> None:
    """The request is withdrawn at once, of a guard and of a step of its own; both are refused."""
    saga = given(
        definition(
            parallel("all", a=[action("refund", review={})], b=[review("offer")], c=[action("x")])
        )
    )
    saga.expect("xs.do").reply(failed())
    saga.ends("compensated")
    for step in ("refund", "offer"):
        assert (saga.status(step), saga.step(step).review.stage) == ("skipped", "withdrawn")
        answer = saga.decides(step, "approve")
        assert refused(answer) == (ProblemType.WRONG_STATE, "the saga has ended: compensated")


def test_what_was_approved_and_then_undone_is_known() -> None:
    """A guard's when its action is undone, a step's when the saga goes back over it."""
    saga = given(
        definition(review("offer"), action("refund", review={}), action("mail")),
    )
    saga.decides("offer", "approve")
    saga.decides("refund", "approve")
    saga.expect("refunds.do").reply(succeeded())
    saga.expect("mails.do").reply(failed())
    saga.expect("refunds.undo").reply(succeeded())
    saga.ends("compensated")
    stages = {step: saga.step(step).review.stage for step in ("offer", "refund")}
    assert stages == {"offer": "rolled_back", "refund": "rolled_back"}


def test_a_late_undo_knows_what_it_rolls_back() -> None:
    """The undo saga has adopted the review together with its step."""
    saga = guarded()
    saga.decides("refund", "approve")
    saga.expect("refunds.do").reply(succeeded())
    saga.ends("completed")
    undo = saga.undone()
    undo.expect("refunds.undo").reply(succeeded())
    assert undo.step("refund").review.stage == "rolled_back"


def test_a_pivot_may_wait_for_a_review_and_nothing_has_happened_yet() -> None:
    """A cancel while people look turns back at once."""
    saga = given(definition(action("note"), action("card", pivot=True, review={})))
    saga.expect("notes.do").reply(succeeded())
    assert isinstance(saga.cancels(), Decision)
    saga.expect("notes.undo").reply(succeeded())
    saga.ends("compensated")


def test_a_rejected_plan_leads_to_the_next() -> None:
    """Inside alternatives a reject is a failure like any other."""
    saga = given(definition(alternatives("how", fast=[review("sure")], slow=[action("mail")])))
    saga.decides("sure", "reject")
    saga.expect("mails.do").reply(succeeded())
    saga.ends("completed")


def test_every_item_of_a_loop_is_reviewed_by_itself() -> None:
    """A review has the path and the number of its own request."""
    saga = given(
        definition(each("all", "${ input.n }", action("pay", review={}), concurrency=2)), n=[1, 2]
    )
    saga.decides("all[1].pay", "approve")
    saga.expect("pays.do")
    saga.expect_nothing()
    saga.decides("all[0].pay", "approve")
    saga.expect("pays.do")


def test_an_operator_gives_up_a_guarded_action_but_not_a_review() -> None:
    """Skipping the action leaves nothing behind; nobody passes a review by."""
    saga = given(definition(action("refund", review={}), review("offer"), action("mail")))
    for answer in (saga.retries("refund"), saga.resolves("refund", Outcome.SUCCEEDED)):
        assert refused(answer)[1] == "refund waits for a review: that is to be decided"
    saga.skips("refund")
    assert (saga.step("refund").review.stage, saga.saga.residue) == ("withdrawn", 0)
    answer = saga.skips("offer")
    assert refused(answer)[1] == "offer is a review: decide it, or cancel the saga"


def test_a_saga_that_waits_for_people_is_looked_at_every_hour() -> None:
    """No saga is silent, and none is busy."""
    saga = guarded()
    assert saga.saga.wake_at == BEGAN + timedelta(hours=1)
    rows = len(saga.rows)
    saga.wakes()
    assert len(saga.rows) == rows


def test_what_cannot_be_shown_fails() -> None:
    """An expression without a value, and people who are none."""
    nothing = given(definition(review("offer", show="${ input.x }")))
    nothing.ends("compensated")
    nobody = given(definition(review("offer", assignees=["${ input.lead }"])), lead=7)
    nobody.ends("compensated")


def test_the_name_of_a_review_says_where_it_is() -> None:
    """Its saga, and the row of its request."""
    assert split_review_id(review_id(IDENTITY.saga_id, 12)) == (IDENTITY.saga_id, 12)
    for wrong in ("", "x", IDENTITY.saga_id, f"{IDENTITY.saga_id}.0", f"{IDENTITY.saga_id}.1x"):
        assert split_review_id(wrong) is None
