"""A whole run against one service: finds out, plays every check, takes back, leaves nothing."""

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar
from uuid import uuid4

from amends_contracts.messages import ACCEPTS_BATCH, Outcome, Reversal
from amends_contracts.names import Key, Op, SagaId
from amends_contracts.topology import Topology
from amends_orchestrator.conform import finding_out, rules
from amends_orchestrator.conform.checks import CHECKS, Check, Of
from amends_orchestrator.conform.examples import Examples, Unplayed, subjects
from amends_orchestrator.conform.finding_out import NoSuccess
from amends_orchestrator.conform.keeping import BadRestart, Keeper
from amends_orchestrator.conform.observing import Observer, is_by_key
from amends_orchestrator.conform.report import Report, Result, Verdict
from amends_orchestrator.conform.rules import Rule
from amends_orchestrator.conform.script import (
    Broken,
    Bury,
    Do,
    Hear,
    Heard,
    Script,
    Send,
    Skipped,
    Tell,
)
from amends_orchestrator.conform.stage import Gone, Stage, Waits
from amends_orchestrator.conform.subject import Abilities, Place, Step, Subject, Trial
from amends_orchestrator.conform.sweeping import sweep
from amends_orchestrator.engine.ids import uuid7

T = TypeVar("T")
Say = Callable[[str], None]

SERVICE_S: Final = 10.0
"""How long is waited for somebody to consume the service's queues."""
HELLO_S: Final = 35.0
"""A service says hello every 30 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run is asked for."""

    service: str
    url: str
    prefix: str = "amends"
    examples: Examples | None = None
    observe: str | None = None
    observe_database: str | None = None
    restart: str | None = None
    pid: str | None = None
    waits: Waits = field(default_factory=Waits)
    hello_s: float | None = None
    """None: as long as one takes, if there is no file of examples."""
    tenant: str = "conform"
    only: frozenset[str] = frozenset()
    """Names of checks; empty: all."""


class Unreachable(Exception):
    """The broker cannot be reached."""


class Nobody(Exception):
    """Nobody serves the service; `strangers` are those that said hello meanwhile."""

    def __init__(self, service: str, what: str, strangers: Sequence[str]) -> None:
        self.service = service
        self.what = what
        self.strangers = strangers
        super().__init__(what)


class NothingToPlay(Exception):
    """No command could be played; `left` says why of each."""

    def __init__(self, service: str, left: Sequence[Unplayed]) -> None:
        self.service = service
        self.left = left
        super().__init__(service)


async def conform(options: Options, say: Say) -> Report:
    """Play everything once. What stands or is declared afterwards is told in the report."""
    token = uuid4().hex[:8]
    stage = Stage(
        url=options.url,
        topology=Topology(options.prefix),
        service=options.service,
        token=token,
        waits=options.waits,
        observer=Observer(options.observe_database),
        keeper=Keeper(options.restart, options.pid) if options.restart else None,
    )
    try:
        await stage.open()
    except (OSError, TimeoutError, ValueError) as error:
        raise Unreachable(str(error) or type(error).__name__) from error
    run = _Run(options, stage, say)
    try:
        await run.begin()
        return await run.play()
    finally:
        await run.end()


class _Run:
    """One run."""

    def __init__(self, options: Options, stage: Stage, say: Say) -> None:
        self._options = options
        self._stage = stage
        self._say = say
        secret = uuid4().hex
        self._place = Place(
            reply_to=stage.reply_to,
            nowhere=f"reply.{options.service}.nowhere-{stage.token}",
            tenant=options.tenant,
            token_of=lambda key: hashlib.sha256(f"{secret}{key}".encode()).hexdigest(),
        )
        self._results: list[Result] = []
        self._steps: dict[Key, Step] = {}
        self._acted: set[Key] = set()
        """Keys of actions that were sent."""
        self._undone: set[Key] = set()
        """Keys of actions whose undo succeeded."""
        self._before: dict[str, float] = {}
        """Observations of no single key, before anything was done."""
        self._gone: str | None = None
        self._played: list[Subject] = []
        self._unplayed: list[Unplayed] = []

    # --- before -------------------------------------------------------------------------------

    async def begin(self) -> None:
        """See that somebody serves, and which commands."""
        options, stage = self._options, self._stage
        if stage.keeper is not None and options.pid is None and not await stage.consumed(0):
            self._say(f"starting {options.restart}")
            await stage.keeper.start()
        if not await stage.consumed(SERVICE_S):
            raise Nobody(options.service, await self._who(), sorted(stage.strangers))
        within = options.hello_s
        if within is None:
            within = 0.0 if options.examples is not None else HELLO_S
        if not await stage.heard_hello(0.0) and within:
            self._say(f"waiting for {options.service} to say hello, at most {within:.0f} s")
            await stage.heard_hello(within)
        self._played, self._unplayed = subjects(options.examples, stage.hellos.values())
        if not self._played:
            raise NothingToPlay(options.service, self._unplayed)

    async def _who(self) -> str:
        if self._stage.keeper is not None and (code := self._stage.keeper.ended()):
            return f"--restart ended with {code}"
        lanes = await self._stage.lanes()
        names = [self._stage.topology.do_queue(self._options.service)]
        if lanes is None:
            return f"nobody has declared {names[0]}"
        idle = [lane.name for lane in lanes if not lane.consumers]
        return f"nobody consumes {' and '.join(idle or names)}"

    # --- the checks ---------------------------------------------------------------------------

    async def play(self) -> Report:
        """Every check for every command it is for."""
        ready: list[tuple[Subject, Abilities]] = []
        for subject in self._played:
            can = await self._find_out(subject)
            if can is not None:
                ready.append((subject, can))
        if not ready and not self._results:
            raise NothingToPlay(self._options.service, self._unplayed)
        for check in CHECKS:
            if self._options.only and check.name not in self._options.only:
                continue
            for subject, can in ready[:1] if check.of is Of.SERVICE else ready:
                if check.of is not Of.UNDOABLE or subject.undoable:
                    self._results.append(await self._one(check, subject, can))
        left = await self._tidy()
        self._about_all_replies()
        skipped = [self._skip(unplayed) for unplayed in self._unplayed]
        return Report(
            self._options.service,
            (*self._results, *skipped),
            left=(*left, *await self._changed()),
            notes=self._notes(ready),
        )

    async def _find_out(self, subject: Subject) -> Abilities | None:
        """What can be seen and done with this command; None: it is not played."""
        self._say(f"trying {subject.name}")
        observe = self._observe(subject)
        self._stage.observe = observe
        trial = self._trial(subject, Abilities())
        if observe and not is_by_key(observe) and observe not in self._before:
            self._before[observe] = await self._stage.observer.look(observe, trial.step().key)
        ledger, probes, closes = await self._through(finding_out.what_it_offers(trial), trial)
        try:
            unit = await self._through(finding_out.what_it_does(trial), trial)
        except NoSuccess as error:
            if subject.given:
                why = f"the input given for it is to succeed: {error}"
                self._add("example", "an input with which it succeeds", subject, rules.OUTPUT, why)
            else:
                why = f"an input made from its schema did not succeed ({error}): give an `input`"
                self._unplayed.append(Unplayed(subject.name, f"{why} in --commands"))
            return None
        except Broken as broken:
            title = "its effect can be seen"
            self._add("example", title, subject, broken.rule, broken.what)
            unit = None
        hellos = self._stage.hellos.values()
        return Abilities(
            probes=probes,
            closes=closes,
            ledger=ledger,
            unit=unit,
            by_key=observe is not None and is_by_key(observe),
            restarts=self._stage.keeper is not None,
            batches=any(ACCEPTS_BATCH in hello.accepts for hello in hellos) if hellos else None,
        )

    def _trial(self, subject: Subject, can: Abilities) -> Trial:
        return Trial(
            subject=subject,
            can=can,
            place=self._place,
            new_saga=lambda: SagaId(str(uuid7())),
        )

    async def _one(self, check: Check, subject: Subject, can: Abilities) -> Result:
        command = None if check.of is Of.SERVICE else subject.name
        result = Result(check.name, check.title, command, Verdict.PASS, check.rule)
        if self._gone:
            return replace(result, verdict=Verdict.SKIPPED, why=self._gone)
        self._say(f"{check.name} {command or ''}".strip())
        self._stage.observe = None if can.unit is None else self._observe(subject)
        trial = self._trial(subject, can)
        began = time.monotonic()
        try:
            await self._through(check.script(trial), trial)
        except Broken as broken:
            result = replace(result, verdict=Verdict.FAIL, why=broken.what, rule=broken.rule)
        except Skipped as skipped:
            result = replace(result, verdict=Verdict.SKIPPED, why=str(skipped))
        except (Gone, BadRestart) as error:
            result = replace(result, verdict=Verdict.FAIL, why=str(error))
        if result.verdict is Verdict.FAIL:
            await self._look_whether_it_lives(check)
        return replace(result, seconds=time.monotonic() - began)

    async def _look_whether_it_lives(self, check: Check) -> None:
        try:
            lives = await self._stage.consumed(SERVICE_S)
        except (OSError, TimeoutError):
            lives = False
        if not lives:
            self._gone = f"the service is gone since {check.name}: nobody consumes its queues"

    async def _through(self, script: Script[T], trial: Trial | None = None) -> T:
        """Play one script to its end."""
        try:
            do = next(script)
            while True:
                self._note_sent(do)
                seen: Any = await self._stage.perform(do)
                if isinstance(do, Tell | Hear):
                    self._note_heard(seen)
                do = script.send(seen)
        except StopIteration as end:
            value: T = end.value
            return value
        finally:
            self._steps |= {step.key: step for step in trial.steps} if trial else {}

    # --- what stands --------------------------------------------------------------------------

    def _note_sent(self, do: Do) -> None:
        match do:
            case Tell() | Send():
                commands = do.commands
            case Bury():
                commands = (do.command,)
            case _:
                return
        self._acted |= {c.key for c in commands if c.op is Op.ACTION and c.key is not None}

    def _note_heard(self, heard: Sequence[Heard]) -> None:
        for one in heard:
            concerned, reply = one.command.compensates, one.reply
            if concerned is None or one.command.op is not Op.COMPENSATION or reply is None:
                continue
            if reply.outcome is Outcome.SUCCEEDED:
                self._undone.add(concerned)

    async def _tidy(self) -> list[str]:
        """Take back what may stand."""
        standing = [
            step
            for key, step in self._steps.items()
            if step.subject.undoable and key in self._acted - self._undone
        ]
        if not standing:
            return []
        if self._gone:
            return [f"{step.key}: {self._gone}" for step in standing]
        self._say(f"taking back {len(standing)} effects")
        try:
            left = await self._through(finding_out.tidied(standing))
        except (Gone, OSError, TimeoutError) as error:
            return [f"{step.key}: {error}" for step in standing]
        self._undone |= {step.key for step in standing}  # what is left is told once
        return left

    async def _changed(self) -> list[str]:
        """What observations show now and did not show before."""
        look = self._stage.observer.look
        changed: list[str] = []
        for observe, before in self._before.items():
            if any(self._observe(subject) == observe for subject in self._lasting()):
                continue
            now = await look(observe, next(iter(self._steps)))
            if now != before:
                changed.append(f"it was {before:g} and is now {now:g}: {observe}")
        for step in self._steps.values():
            observe = self._observe(step.subject)
            if observe and is_by_key(observe) and step.subject.undoable:
                now = await look(observe, step.key)
                if now:
                    changed.append(f"{step.key}: {now:g} of it stands: {observe}")
        return changed

    async def end(self) -> None:
        """Take back what stands if the run was interrupted; delete queues, end what was started."""
        stage = self._stage
        async with AsyncExitStack() as last:
            if stage.keeper is not None:
                last.push_async_callback(stage.keeper.close)
            last.push_async_callback(stage.observer.close)
            last.push_async_callback(stage.close)
            last.push_async_callback(stage.end_service)
            try:
                await self._tidy()
                dead = {letter.message_id or "" for letter in stage.dead}
                await sweep(self._options.url, stage.topology.dead, dead)
            except (Gone, OSError, TimeoutError) as error:
                self._say(f"could not tidy up: {error}")

    # --- what is told -------------------------------------------------------------------------

    def _observe(self, subject: Subject) -> str | None:
        return (self._options.observe if subject.observe is None else subject.observe) or None

    def _add(self, check: str, title: str, subject: Subject | None, rule: Rule, why: str) -> None:
        verdict = Verdict.FAIL if why else Verdict.PASS
        name = subject.name if subject else None
        self._results.append(Result(check, title, name, verdict, rule, why))

    def _skip(self, unplayed: Unplayed) -> Result:
        title, rule = "an input with which it succeeds", rules.OUTPUT
        return Result("example", title, unplayed.name, Verdict.SKIPPED, rule, unplayed.why)

    def _about_all_replies(self) -> None:
        """What holds for every message of the run, whatever check it was of."""
        faults = list(dict.fromkeys(self._stage.inbox.faults))
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        echo = f"{faults[0]}{more}" if faults else ""
        self._add("echo", "every reply gives its delivery back", None, rules.ECHO, echo)
        dead = [m for m in self._stage.dead if m.message_id not in self._stage.buried]
        letters = f"{dead[0].type} ({dead[0].message_id}) and {len(dead)} in all" if dead else ""
        title = "no command that can be read was dead-lettered"
        self._add("dead-letters", title, None, rules.UNDECODABLE, letters)
        bad = self._stage.bad_hellos
        self._add("hello", "it can be read", None, rules.HELLO, bad[0] if bad else "")
        if not bad and not self._stage.hellos:
            last = self._results[-1]
            why = "none was heard; it is optional"
            self._results[-1] = replace(last, verdict=Verdict.SKIPPED, why=why)

    def _notes(self, ready: Sequence[tuple[Subject, Abilities]]) -> tuple[str, ...]:
        seen = [f"{subject.name}: {_seen_by(can)}" for subject, can in ready]
        for subject in self._lasting():
            count = sum(
                self._steps[key].subject is subject for key in self._acted & set(self._steps)
            )
            seen.append(f"{subject.name}: up to {count} effects stay, for it cannot be undone")
        return tuple(seen)

    def _lasting(self) -> list[Subject]:
        """The commands that were played although they cannot be undone."""
        return [one for one in self._played if one.reversal is Reversal.IRREVERSIBLE]


def _seen_by(can: Abilities) -> str:
    ways = [
        "--observe" + (" by key" if can.by_key else "") if can.unit is not None else "",
        "probe" if can.probes else "",
        "ledger" if can.ledger else "",
    ]
    named = ", ".join(way for way in ways if way)
    return f"effects seen by {named}" if named else "effects seen by replies alone: give --observe"
