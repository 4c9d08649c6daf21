"""`Participant`: a service's handlers, typed, and what they say of the service.

    app = Participant("flights")

    @app.action(ReserveFlight)
    async def reserve(cmd: ReserveFlight, tx: AsyncConnection, effect: Effect) -> Seat: ...

    @app.compensation(ReserveFlight)
    async def release(undo: Undo[ReserveFlight, Seat], tx: AsyncConnection) -> None: ...

Nothing is connected here; `amends-participant flights:app` (run.py) runs it.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.metadata import version
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from amends_contracts.command import Command, CommandSpec, spec_of
from amends_contracts.definition import format_duration
from amends_contracts.messages import Hello, Reversal
from amends_contracts.names import is_name, service_of
from amends_participants.signatures import BadHandler, Bound, Handler, Role, bind

Out = TypeVar("Out")
P = ParamSpec("P")
Hook = Callable[[], Awaitable[None]]
H = TypeVar("H", bound=Hook)

SDK = f"amends-participants/{version('amends-participants')} python"


class Register(Protocol, Generic[Out]):
    """A decorator for handlers that return `Out`, whatever parameters they take."""

    def __call__(
        self, handler: Callable[P, Coroutine[Any, Any, Out]], /
    ) -> Callable[P, Coroutine[Any, Any, Out]]:
        """Register it and give it back."""
        ...


@dataclass(frozen=True, slots=True)
class Registration:
    """One command of a service, with its handlers."""

    spec: CommandSpec[Any]
    action: Bound | None = None
    compensation: Bound | None = None
    probe: Bound | None = None
    drill: str | None = None
    """What the action acts on in drills; None: it is not run in them."""

    @property
    def compensation_name(self) -> str:
        """The command name by which its undo is asked for."""
        return self.spec.compensation or self.spec.name


class Participant:
    """The handlers of one service. `horizon`: only if rows are purged other than by `forget`."""

    def __init__(self, service: str, *, horizon: timedelta | None = None) -> None:
        if not is_name(service):
            raise ValueError(
                f"Participant({service!r}): a service's name is lower case letters, digits, - and _"
            )
        self.service = service
        self.horizon = horizon
        self.start_hooks: list[Hook] = []
        self.stop_hooks: list[Hook] = []
        self._commands: dict[str, Registration] = {}
        self._undone_by: dict[str, str] = {}
        """Name by which an undo is asked for -> name of the action's command."""

    def action(self, command: type[Command[Out]], *, drill: str | None = None) -> Register[Out]:
        """The handler that brings the command's effect about; it returns the output.

        It may take `cmd`, `effect` and, if transactional, `tx`, in any order, by annotation.
        `drill`: what it acts on in drills ("Stripe's test mode"), which `effect.drill` tells it to;
        a command that says nothing is never run in one.
        """
        return self._register(command, Role.ACTION, drill=drill)

    def compensation(self, command: type[Command[Any]]) -> Register[None]:
        """The handler that takes the effect back; called only where it is, or may be, there.

        It may take `undo: Undo[Cmd, Out]`, `effect` (its own) and, if transactional, `tx`.
        """
        if spec_of(command).reversal is not Reversal.COMPENSATABLE:
            raise BadHandler(
                f"{command.__name__} is {spec_of(command).reversal.value}: it has no compensation;"
                " declare reversal='compensatable' (the default), or leave the handler out"
            )
        return self._register(command, Role.COMPENSATION)

    def probe(self, command: type[Command[Out]]) -> Register[Out | None]:
        """The handler that looks whether the effect is there: its output, or None if it is not.

        Needed for `queryable`; `transactional` commands are answered from the barrier alone.
        Raise `Unknown` if it cannot be told. For commands without output return a dict or None.
        """
        return self._register(command, Role.PROBE)

    def on_start(self, hook: H) -> H:
        """Run before the first command, once per process: `@app.on_start`."""
        self.start_hooks.append(hook)
        return hook

    def on_stop(self, hook: H) -> H:
        """Run after the last command: `@app.on_stop`."""
        self.stop_hooks.append(hook)
        return hook

    def run(self) -> None:
        """Run this service until SIGTERM or SIGINT, by the settings in `AMENDS_*`."""
        from amends_participants.run import run_apps

        run_apps([self])

    def registered(self) -> tuple[Registration, ...]:
        """All commands with their handlers."""
        return tuple(self._commands.values())

    def find_action(self, name: str) -> Registration | None:
        """The command of this name, for actions and probes."""
        return self._commands.get(name)

    def find_undo(self, name: str) -> Registration | None:
        """The command whose undo is asked for by this name."""
        return self._commands.get(self._undone_by.get(name, ""))

    def hello(self, instance: str, accepts: Iterable[str] = ()) -> Hello:
        """What this instance says of itself. Every command can be probed: the barrier knows."""
        commands = {
            r.spec.name: replace(
                r.spec.info(), compensation=self._announced(r), probe=True, drill=r.drill
            )
            for r in self.registered()
            if r.action is not None
        }
        horizon = None if self.horizon is None else format_duration(self.horizon)
        return Hello(
            service=self.service,
            instance=instance,
            commands=commands,
            sdk=SDK,
            accepts=frozenset(accepts),
            horizon=horizon,
        )

    def check(self) -> None:
        """Refuse what cannot work as a whole: BadHandler names the command and the remedy."""
        if not self._commands:
            raise BadHandler(f"Participant({self.service!r}) has no handler; add @app.action(…)")
        for r in self.registered():
            name = r.spec.model.__name__
            if r.action is None:
                raise BadHandler(f"{name} has no action handler; add @app.action({name})")
            compensatable = r.spec.reversal is Reversal.COMPENSATABLE
            if compensatable and r.compensation is None:
                raise BadHandler(
                    f"{name} is compensatable but has no compensation: add"
                    f" @app.compensation({name}), or declare reversal='read_only'"
                    " or 'irreversible'"
                )
            if r.spec.effect.value == "queryable" and r.probe is None:
                raise BadHandler(f"{name} is queryable but nothing queries: add @app.probe({name})")

    def _bind(self, handler: Handler, role: Role, command: type[Command[Any]]) -> Bound:
        """How a handler is called; an adapter to another framework puts itself in between."""
        return bind(handler, role, command)

    def _announced(self, registration: Registration) -> str | None:
        return None if registration.compensation is None else registration.compensation_name

    def _register(
        self, command: type[Command[Any]], role: Role, *, drill: str | None = None
    ) -> Any:
        spec = spec_of(command)
        if service_of(spec.name) != self.service:
            raise BadHandler(
                f"{command.__name__} is {spec.name!r}: it belongs to the service"
                f" {service_of(spec.name)!r}, not to Participant({self.service!r})"
            )

        def decorate(handler: Handler) -> Handler:
            bound = self._bind(handler, role, command)
            known = self._commands.get(spec.name, Registration(spec))
            if known.spec.model is not command or getattr(known, role.value) is not None:
                raise BadHandler(f"{spec.name!r} has a handler for its {role} already")
            if role is Role.COMPENSATION:
                other = self._undone_by.setdefault(known.compensation_name, spec.name)
                if other != spec.name:
                    raise BadHandler(
                        f"{known.compensation_name!r} undoes {other!r} already;"
                        f" give {command.__name__} a compensation name of its own"
                    )
            handlers: dict[str, Any] = {role.value: bound}
            if drill is not None:
                handlers["drill"] = drill
            self._commands[spec.name] = replace(known, **handlers)
            return handler

        return decorate
