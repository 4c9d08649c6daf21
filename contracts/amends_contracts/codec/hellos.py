"""`hello`: what a participant instance says of itself."""

from typing import Any, Final

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec.headers import check_size, refused
from amends_contracts.codec.members import Members
from amends_contracts.definition import parse_duration
from amends_contracts.messages import (
    JSON_TYPE,
    CommandInfo,
    Effect,
    Hello,
    Json,
    Reversal,
    to_body,
)
from amends_contracts.names import is_command_name, is_name, service_of
from amends_contracts.topology import Topology

HELLO: Final = "hello"
"""Routing key on the control exchange."""
COMMANDS_MAX: Final = 1000


def hello_to_json(hello: Hello) -> dict[str, Any]:
    """The body of a `hello`; also what `GET /v1/participants` shows of an instance."""
    body: dict[str, Any] = {"service": hello.service, "instance": hello.instance}
    if hello.sdk is not None:
        body["sdk"] = hello.sdk
    if hello.accepts:
        body["accepts"] = sorted(hello.accepts)
    if hello.horizon is not None:
        body["horizon"] = hello.horizon
    body["commands"] = {name: _info_to_json(info) for name, info in hello.commands.items()}
    return body


def encode_hello(hello: Hello, topology: Topology) -> AmqpMessage:
    """Not mandatory: where no orchestrator has been yet, nobody needs it."""
    body = to_body(hello_to_json(hello))
    check_size(body)
    return AmqpMessage(
        exchange=topology.control,
        routing_key=HELLO,
        body=body,
        content_type=JSON_TYPE,
        mandatory=False,
    )


def decode_hello(message: AmqpMessage) -> Hello:
    """Members that this reader does not know are passed over: a hint may grow."""
    return hello_from(Members.of_body(message.body))


def hello_from(members: Members) -> Hello:
    """A `hello` from its members; commands must be of its own service."""
    service = members.matching("service", is_name, "a service name")
    commands = members.object("commands")
    if len(commands) > COMMANDS_MAX:
        raise refused(members.at("commands"), f"at most {COMMANDS_MAX} commands", len(commands))
    read = Members(commands, members.at("commands"))
    return Hello(
        service=service,
        instance=members.text("instance"),
        commands={name: _info(read, service, name) for name in commands},
        sdk=members.optional_text("sdk"),
        accepts=frozenset(members.texts("accepts")),
        horizon=_horizon(members),
    )


def _horizon(members: Members) -> str | None:
    text = members.optional_text("horizon")
    if text is not None:
        try:
            parse_duration(text)
        except ValueError:
            raise refused(members.at("horizon"), "an ISO 8601 duration", text) from None
    return text


def _info(commands: Members, service: str, name: str) -> CommandInfo:
    if not is_command_name(name) or service_of(name) != service:
        raise refused(commands.at(name), f"a command {service}.<verb>", name)
    members = Members(commands.object(name), commands.at(name))
    return CommandInfo(
        effect=members.choice("effect", Effect),
        reversal=members.choice("reversal", Reversal),
        input=_schema(members, "input"),
        output=_schema(members, "output"),
        compensation=members.optional_text("compensation"),
        probe=members.flag("probe"),
        drill=members.optional_text("drill"),
    )


def _schema(members: Members, name: str) -> Json:
    return members.object(name) if members.has(name) else members.value(name)


def _info_to_json(info: CommandInfo) -> dict[str, Any]:
    body: dict[str, Any] = {"effect": info.effect.value, "reversal": info.reversal.value}
    if info.input is not None:
        body["input"] = info.input
    if info.output is not None:
        body["output"] = info.output
    if info.compensation is not None:
        body["compensation"] = info.compensation
    if info.probe:
        body["probe"] = True
    if info.drill is not None:
        body["drill"] = info.drill
    return body
