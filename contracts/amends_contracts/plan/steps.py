"""Single steps of a plan, one builder per kind."""

# ruff: noqa: A002  # keywords of the public API are named for what they are

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar, cast, overload

from pydantic import BaseModel, TypeAdapter, ValidationError

from amends_contracts.command import Command, CommandError, CommandSpec, output_type, spec_of
from amends_contracts.definition import Guard, Limit, Limits, Price, Retry
from amends_contracts.messages import CommandInfo, Effect, Json, Reversal
from amends_contracts.plan.origins import PlanError
from amends_contracts.plan.proxies import Expr, Proxy
from amends_contracts.plan.recorded import Recorded
from amends_contracts.plan.recorder import Recorder
from amends_contracts.plan.values import OnFailure, Span, given, span
from amends_contracts.plan.values import retry as policy

Out = TypeVar("Out")
T = TypeVar("T")


class Done(Generic[Out]):
    """What a compensation's own mapping may use: input and output of the action it undoes."""

    def __init__(self, plan: object, model: type[Command[Any]]) -> None:
        self._plan = plan
        self._model = model

    @property
    def input(self) -> Any:
        """The action's input, as it was sent."""
        return Proxy(Expr("action.input", self._model, plan=self._plan))

    @property
    def output(self) -> Out:
        """The action's output; null while its outcome is unknown."""
        return cast(Out, Proxy(Expr("action.output", output_type(self._model), plan=self._plan)))


class Answer(BaseModel):
    """What a model says that no form was asked of."""

    text: str


Undoing = type[Command[Any]] | Callable[[Done[Out]], Command[Any]]
"""A command class, whose input is the default one, or a function that makes the command."""


class Steps(Recorder):
    """The single steps of a plan."""

    def __init__(self) -> None:
        super().__init__()
        self._commands: dict[str, CommandSpec[Any]] = {}

    @property
    def commands(self) -> Mapping[str, CommandInfo]:
        """The commands that the plan sends, with their schemas, for the verifier."""
        return {name: spec.info() for name, spec in self._commands.items()}

    def do(
        self,
        command: Command[Out],
        *,
        id: str | None = None,
        when: bool | None = None,
        timeout: Span | None = None,
        retry: int | Retry | None = None,
        on_failure: OnFailure = "compensate",
        pivot: bool = False,
        effect: Effect | None = None,
        reversal: Reversal | None = None,
        probe: bool | None = None,
        review: Guard | None = None,
        limit: Limit | None = None,
        compensation: Undoing[Out] | None = None,
        undo_retry: int | Retry | None = None,
        undo_timeout: Span | None = None,
        verify: bool = False,
        compensable_for: Span | None = None,
    ) -> Out:
        """Send a command to its participant; typed as what the command answers.

        `id` defaults to the variable that the result is assigned to, or the command's verb.
        `effect`, `reversal` and `probe` may only be stricter than what the command declares.
        `limit` is made by `plan.limit(…)`.
        """
        model, body = self._command(command)
        spec = self._spec(model)
        undone = reversal or spec.reversal
        if undone is not Reversal.COMPENSATABLE and (compensation or undo_retry or undo_timeout):
            raise PlanError(f"{spec.name} is {undone}: there is nothing to compensate it with")
        members = given(
            command=spec.name,
            input=body,
            effect=str(effect or spec.effect),
            reversal=str(undone),
            probe=True if (spec.probe if probe is None else probe) else None,
            timeout=timeout and span(timeout),
            retry=policy(retry),
            on_failure=None if on_failure == "compensate" else on_failure,
            pivot=pivot or None,
            review=review and review.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            compensable_for=compensable_for and span(compensable_for),
            limit=limit and limit.model_dump(mode="json", exclude_none=True),
        )
        if undone is Reversal.COMPENSATABLE:
            members["compensation"] = self._compensation(spec, compensation) | given(
                retry=policy(undo_retry),
                timeout=undo_timeout and span(undo_timeout),
                verify=verify or None,
            )
        fallback = spec.name.partition(".")[2]
        node = self._add("action", members, id=id, fallback=fallback, when=when)
        return cast(Out, self._output(node, output_type(model)))

    def tool(
        self,
        tool: str,
        input: Mapping[str, object],
        *,
        output: type[T],
        effect: Effect | None = None,
        reversal: Reversal | None = None,
        timeout: Span | None = None,
        retry: int | Retry | None = None,
        on_failure: OnFailure = "compensate",
        pivot: bool = False,
        review: Guard | None = None,
        id: str | None = None,
        when: bool | None = None,
    ) -> T:
        """Call a named tool; its declared undo compensates it."""
        members = given(
            tool=tool,
            input=self._rendered(input),
            effect=effect and str(effect),
            reversal=reversal and str(reversal),
            timeout=timeout and span(timeout),
            retry=policy(retry),
            on_failure=None if on_failure == "compensate" else on_failure,
            pivot=pivot or None,
            review=review and review.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        )
        node = self._add("tool", members, id=id, fallback=_as_id(tool, "tool"), when=when)
        return cast(T, self._output(node, output))

    @overload
    def llm(
        self,
        prompt: str,
        *,
        output: type[T],
        models: Sequence[str],
        system: str | None = ...,
        settings: Mapping[str, Json] | None = ...,
        max_reasks: int | None = ...,
        timeout: Span | None = ...,
        retry: int | Retry | None = ...,
        limits: Limits | None = ...,
        prices: Mapping[str, Price] | None = ...,
        id: str | None = ...,
        when: bool | None = ...,
    ) -> T: ...
    @overload
    def llm(
        self,
        prompt: str,
        *,
        models: Sequence[str],
        system: str | None = ...,
        settings: Mapping[str, Json] | None = ...,
        max_reasks: int | None = ...,
        timeout: Span | None = ...,
        retry: int | Retry | None = ...,
        limits: Limits | None = ...,
        prices: Mapping[str, Price] | None = ...,
        id: str | None = ...,
        when: bool | None = ...,
    ) -> Answer: ...
    def llm(
        self,
        prompt: str,
        *,
        output: Any = None,
        models: Sequence[str],
        system: str | None = None,
        settings: Mapping[str, Json] | None = None,
        max_reasks: int | None = None,
        timeout: Span | None = None,
        retry: int | Retry | None = None,
        limits: Limits | None = None,
        prices: Mapping[str, Price] | None = None,
        id: str | None = None,
        when: bool | None = None,
    ) -> Any:
        """A model call whose answer has the form of `output`; models are tried in order.

        Without `output` the answer is a text: `answer.text`.
        """
        members = given(
            prompt=self._rendered(prompt),
            system=system if system is None else self._rendered(system),
            output=None if output is None else schema_of(output),
            models=list(models),
            settings=dict(settings) if settings else None,
            max_reasks=max_reasks,
            timeout=timeout and span(timeout),
            retry=policy(retry),
            limits=limits and _limits(limits),
            prices={name: price.model_dump() for name, price in (prices or {}).items()} or None,
        )
        node = self._add("llm", members, id=id, fallback="llm", when=when)
        return self._output(node, output or Answer)

    def agent(
        self,
        decider: str,
        input: Mapping[str, object],
        *,
        output: type[T],
        limits: Limits,
        tools: Sequence[str] = (),
        models: Sequence[str] = (),
        prompt: str | None = None,
        on_irreversible: Literal["defer", "review"] = "defer",
        id: str | None = None,
        when: bool | None = None,
    ) -> T:
        """A loop: the service `decider` decides, each tool call is a step with its undo."""
        members = given(
            decider=decider,
            models=list(models) or None,
            prompt=prompt if prompt is None else self._rendered(prompt),
            input=self._rendered(input),
            output=schema_of(output),
            tools=list(tools) or None,
            limits=_limits(limits),
            on_irreversible=None if on_irreversible == "defer" else on_irreversible,
        )
        node = self._add("agent", members, id=id, fallback=_as_id(decider, "agent"), when=when)
        return cast(T, self._output(node, output))

    def review(
        self,
        title: str,
        show: object = None,
        *,
        form: type[T] = dict[str, Any],
        assignees: Sequence[str] = (),
        quorum: int | None = None,
        expires: Span | None = None,
        on_expiry: Literal["reject", "approve", "escalate"] | None = None,
        escalate_to: Sequence[str] = (),
        not_requester: bool = False,
        valid_for: Span | None = None,
        id: str | None = None,
        when: bool | None = None,
    ) -> T:
        """A person approves, rejects or edits what is shown; an edit must have the form `form`."""
        members = given(
            title=self._rendered(title),
            show=self._rendered(show),
            form=None if form == dict[str, Any] else schema_of(form),
            assignees=list(assignees) or None,
            quorum=quorum,
            expires=expires and span(expires),
            on_expiry=on_expiry,
            escalate_to=list(escalate_to) or None,
            not_requester=not_requester or None,
            valid_for=valid_for and span(valid_for),
        )
        node = self._add("review", members, id=id, fallback="review", when=when)
        return cast(T, self._output(node, form))

    def wait(
        self,
        for_: Span | None = None,
        *,
        until: datetime | str | None = None,
        id: str | None = None,
        when: bool | None = None,
    ) -> None:
        """Wait for a duration, or until a time."""
        if (for_ is None) == (until is None):
            raise PlanError("wait takes either a duration or until=", 'plan.wait("2h")')
        members: dict[str, Json] = {}
        if for_ is not None:
            members["for"] = span(for_)
        else:
            members["until"] = self._rendered(until)
        self._add("wait", members, id=id, fallback="wait", when=when)

    @overload
    def await_(
        self,
        event: str,
        data: type[T],
        *,
        timeout: Span | None = None,
        on_timeout: OnFailure = "compensate",
        id: str | None = None,
        when: bool | None = None,
    ) -> T: ...
    @overload
    def await_(
        self,
        event: str,
        *,
        timeout: Span | None = None,
        on_timeout: OnFailure = "compensate",
        id: str | None = None,
        when: bool | None = None,
    ) -> Any: ...
    def await_(
        self,
        event: str,
        data: Any = None,
        *,
        timeout: Span | None = None,
        on_timeout: OnFailure = "compensate",
        id: str | None = None,
        when: bool | None = None,
    ) -> Any:
        """Wait for an event signalled to this saga; one that came early counts. Gives its data."""
        members = given(
            event=event,
            timeout=timeout and span(timeout),
            on_timeout=None if on_timeout == "compensate" else on_timeout,
        )
        node = self._add("await", members, id=id, fallback=_as_id(event, "await"), when=when)
        return self._output(node, data)

    def saga(
        self,
        definition: str,
        input: BaseModel | Mapping[str, object],
        *,
        output: type[T],
        version: int | None = None,
        key: str | None = None,
        id: str | None = None,
        when: bool | None = None,
    ) -> T:
        """Run another saga as one step; it is undone as one unit."""
        members = given(
            definition=definition,
            version=version,
            input=self._rendered(input),
            key=key if key is None else self._rendered(key),
        )
        node = self._add("saga", members, id=id, fallback=definition, when=when)
        return cast(T, self._output(node, output))

    def guard(
        self,
        *,
        when: bool | None = None,
        title: str | None = None,
        form: type[BaseModel] | None = None,
        assignees: Sequence[str] = (),
        quorum: int = 1,
        expires: Span | None = None,
        on_expiry: Literal["reject", "approve", "escalate"] = "reject",
        escalate_to: Sequence[str] = (),
        not_requester: bool = False,
        valid_for: Span | None = None,
    ) -> Guard:
        """A review before a command is sent: `plan.do(…, review=plan.guard(…))`."""
        members = given(
            when=None if when is None else self._condition(when),
            title=title if title is None else self._rendered(title),
            form=form and schema_of(form),
            expires=expires and span(expires),
            valid_for=valid_for and span(valid_for),
        )
        return Guard.model_validate(
            members
            | {
                "assignees": tuple(assignees),
                "quorum": quorum,
                "on_expiry": on_expiry,
                "escalate_to": tuple(escalate_to),
                "not_requester": not_requester,
            }
        )

    def limit(
        self,
        *,
        key: object = None,
        concurrency: int | None = None,
        rate: tuple[int, Span] | None = None,
        total: int | None = None,
        name: str | None = None,
    ) -> Limit:
        """How many may be at work over all sagas: `plan.do(…, limit=plan.limit(concurrency=5))`.

        `concurrency` and `rate` (so many in such a span) hold for each `key`, `total` for all keys
        together. Who says the same `name` shares it; it defaults to the command's service.
        """
        members = given(
            name=name,
            key=None if key is None else self._rendered(key),
            concurrency=concurrency,
            rate=rate and {"count": rate[0], "per": span(rate[1])},
            total=total,
        )
        try:
            return Limit.model_validate(members)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise PlanError(f"limit: {wrong}") from None

    def _command(self, command: object) -> tuple[type[Command[Any]], dict[str, Json]]:
        """Class and rendered body of a command, recorded or an instance."""
        if isinstance(command, Recorded):
            return command.model, self._rendered(command)
        if isinstance(command, Command):
            return type(command), self._rendered(command)  # type: ignore[return-value]  # a model is an object
        if isinstance(command, type) and issubclass(command, Command):
            raise PlanError(f"{command.__name__} is a class", f"write {command.__name__}(…)")
        raise PlanError(f"do() sends a command, not {command!r}")

    def _spec(self, model: type[Command[Any]]) -> CommandSpec[Any]:
        try:
            spec = spec_of(model)
        except CommandError as error:
            raise PlanError(str(error)) from None
        known = self._commands.setdefault(spec.name, spec)
        if known.model is not model:
            raise PlanError(f"{known.model.__name__} and {model.__name__} are both {spec.name!r}")
        return spec

    def _compensation(
        self, spec: CommandSpec[Any], undoing: Undoing[Any] | None
    ) -> dict[str, Json]:
        if undoing is None:
            return {"command": spec.compensation or spec.name}
        if isinstance(undoing, type):
            return {"command": self._spec(cast(type[Command[Any]], undoing)).name}
        model, body = self._command(undoing(Done(self, spec.model)))
        return {"command": self._spec(model).name, "input": body}


def schema_of(output: Any) -> dict[str, Any]:
    """The JSON Schema of a model or type."""
    return TypeAdapter(output).json_schema(by_alias=True, mode="validation")


def _limits(limits: Limits) -> Json:
    return limits.model_dump(mode="json", by_alias=True, exclude_none=True)


def _as_id(text: str, otherwise: str) -> str:
    """A usable id from a free name."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in text.lower())
    return kept if kept[:1].isalpha() else otherwise
