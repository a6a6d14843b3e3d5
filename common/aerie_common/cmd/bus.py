# SPDX-License-Identifier: Apache-2.0
"""`aerie bus`: what waits in the message broker, and for whom.

Needs no more of RabbitMQ than any client has: queues are looked at by passive declaration, messages by taking them and
putting them back, at their place. Queues with names that nobody can know (of answers and fanouts) are the node's own
knowledge: `list --all`, on its host, asks rabbitmqctl.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import oslo_messaging
from kombu import connection as kombu_connection
from kombu.exceptions import OperationalError

from aerie_common import rpc
from aerie_common.cmd import reach
from aerie_common.log import mask

TIMEOUT = 5
PRIORITIES = ("info", "error")
_connection: Any = kombu_connection.Connection  # comes without types


@dataclass(frozen=True)
class Queue:
    """A queue as it is now. oldest: seconds the first message has waited; None where it does not say or is none."""

    name: str
    depth: int
    consumers: int
    oldest: float | None = None


def urls(args: argparse.Namespace) -> dict[str, list[str]]:
    """The broker's addresses (more than one when services use several), and the queues to expect on each."""
    found: dict[str, list[str]] = {}
    for spec, conf in reach.configurations(args.config_dir).values():
        rpc.register_options(conf)
        parsed = oslo_messaging.TransportURL.parse(conf)
        if parsed.transport not in ("rabbit", "kombu+rabbit", "kombu"):
            continue
        if not parsed.hosts and not spec.topics:
            continue  # the default of an option that its daemons have no use for
        queues = found.setdefault(str(parsed), [f"{rpc.NOTIFICATIONS}.{p}" for p in PRIORITIES])
        queues += [name for topic in spec.topics for name in (topic, f"{topic}.{conf.host}") if name not in queues]
    if not found:
        raise SystemExit("No service here uses RabbitMQ: transport_url says otherwise.")
    return found


@contextmanager
def connect(url: str) -> Iterator[Any]:
    """A connection to the first host of an oslo.messaging URL that answers. OperationalError when none does."""
    from oslo_config import cfg

    conf = cfg.ConfigOpts()
    rpc.register_options(conf)
    parsed = oslo_messaging.TransportURL.parse(conf, url)
    trouble: Exception = OperationalError("the URL names no host")
    for host in parsed.hosts:
        connection: Any = _connection(
            hostname=host.hostname, port=host.port or 5672, userid=host.username, password=host.password,
            virtual_host=parsed.virtual_host or "/", transport="pyamqp", connect_timeout=TIMEOUT,
            ssl=(parsed.query or {}).get("ssl") in ("1", "true"),
        )  # fmt: skip
        try:
            connection.ensure_connection(max_retries=1, timeout=TIMEOUT)
        except (OperationalError, OSError) as e:
            trouble = e
            continue
        with connection:
            yield connection
        return
    raise OperationalError(str(trouble)) from trouble


def look(connection: Any, names: Iterable[str]) -> list[Queue]:
    """Those of the queues that exist."""
    found = []
    for name in names:
        channel = connection.channel()  # one for each: a queue that is not there closes its channel
        try:
            declared = channel.queue_declare(queue=name, passive=True)
            first = taken(connection, name, 1) if declared.message_count else []
            found.append(Queue(name, declared.message_count, declared.consumer_count, _age(first)))
            channel.close()
        except connection.channel_errors as e:
            if e.code != 404:
                raise
    return found


def taken(connection: Any, name: str, count: int) -> list[Any]:
    """The first messages of a queue. All go back to their places when the channel closes."""
    channel = connection.channel()
    try:
        found: list[Any] = []
        while len(found) < count and (message := channel.basic_get(name, no_ack=False)) is not None:
            found.append(message)
        return found
    finally:
        channel.close()


def _age(messages: list[Any]) -> float | None:
    for message in messages:
        stamp = message.properties.get("timestamp")
        if stamp is None:
            stamp = decode(message.body).get("timestamp")
        if stamp is None:
            return None
        if not isinstance(stamp, datetime.datetime):
            try:
                stamp = datetime.datetime.fromisoformat(str(stamp))
            except ValueError:
                return None
        now = datetime.datetime.now(datetime.UTC)
        stamp = stamp if stamp.tzinfo else stamp.replace(tzinfo=datetime.UTC)
        return round(max((now - stamp).total_seconds(), 0.0), 1)
    return None


def decode(body: Any) -> dict[str, Any]:
    """What a message says: oslo.messaging's envelope opened. {"text": ...} when it is not one of ours."""
    try:
        outer = orjson.loads(body)
        inner = outer.get("oslo.message", outer)
        found = orjson.loads(inner) if isinstance(inner, str) else inner
        return found if isinstance(found, dict) else {"text": found}
    except (orjson.JSONDecodeError, AttributeError, TypeError):
        return {"text": body.decode(errors="replace") if isinstance(body, bytes) else str(body)}


def all_queues(url: str) -> list[Queue]:
    """Every queue of the virtual host, as the node on this machine tells. SystemExit when it cannot be asked."""
    from oslo_config import cfg

    conf = cfg.ConfigOpts()
    rpc.register_options(conf)
    vhost = oslo_messaging.TransportURL.parse(conf, url).virtual_host or "/"
    columns = ["name", "messages", "consumers", "head_message_timestamp"]
    command = ["rabbitmqctl", "--quiet", "--formatter", "json", "list_queues", "-p", vhost, *columns]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60)
    except FileNotFoundError:
        raise SystemExit("rabbitmqctl is not installed here: run this on the broker's host.") from None
    if done.returncode:
        raise SystemExit(f"rabbitmqctl: {(done.stderr or done.stdout).decode(errors='replace').strip()[-300:]}")
    return [Queue(q["name"], q["messages"], q["consumers"]) for q in orjson.loads(done.stdout)]


def list_(args: argparse.Namespace) -> int:
    """Print the queues. Exit status 1 when messages wait for nobody."""
    rows = []
    for url, names in urls(args).items():
        names += [name for name in args.queue if name not in names]
        if args.all:
            rows += all_queues(url)
            continue
        with connect(url) as connection:
            rows += look(connection, names)
    if args.json:
        print(orjson.dumps([asdict(row) for row in rows]).decode())
    else:
        width = max([5, *(len(row.name) for row in rows)])
        print(f"{'QUEUE':<{width}}  {'DEPTH':>7}  {'CONSUMERS':>9}  OLDEST")
        for row in rows:
            oldest = "-" if row.oldest is None else f"{row.oldest:.0f}s"
            print(f"{row.name:<{width}}  {row.depth:>7}  {row.consumers:>9}  {oldest}")
    lonely = [row for row in rows if row.depth and not row.consumers]
    for row in lonely:
        print(f"{row.name}: {row.depth} messages and no consumer. Does its daemon run?", file=sys.stderr)
    return 1 if lonely else 0


def peek(args: argparse.Namespace) -> int:
    """Print the first messages of a queue without taking them away. Exit status 1 when there is no such queue."""
    for url in urls(args):
        with connect(url) as connection:
            if not look(connection, [args.name]):
                continue
            for message in taken(connection, args.name, args.count):
                said = decode(message.body)
                plain = {name: value for name, value in said.items() if not name.startswith("_context_")}
                context = said.get("_context_request_id")
                shown = {**plain, **({"request_id": context} if context else {})}
                text = orjson.dumps(shown, option=0 if args.json else orjson.OPT_INDENT_2).decode()
                print(mask(text))
            return 0
    print(f"There is no queue {args.name}. `aerie bus list` shows those there are.", file=sys.stderr)
    return 1


def run(args: argparse.Namespace) -> int:
    """Do what the command line asks for. Exit status 2 when the broker cannot be reached."""
    try:
        return {"list": list_, "peek": peek}[args.action](args)
    except (OperationalError, OSError) as e:
        print(f"The broker does not answer: {mask(str(e))}. See transport_url, and whether it runs.", file=sys.stderr)
        return 2
