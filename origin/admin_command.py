"""`visavis keys`, `visavis sessions` and `visavis pops`: the admin API of a running origin, at a terminal."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError
from core.host.config import ADMIN_KEY_VARIABLE, add_config_arguments, load_config, overrides_from
from origin.config import OriginConfig

if TYPE_CHECKING:
    import httpx

    from core.host.cli import Subparsers

__all__ = ["register_keys", "register_pops", "register_sessions"]

_EXIT_REFUSED: Final = 1
_TIMEOUT_S: Final = 10.0
_EPILOG: Final = (
    f"The admin key is taken from {ADMIN_KEY_VARIABLE}, else from the file admin-key in the origin's runtime "
    "directory. Exit codes: 0 done, 1 the origin refused or cannot be reached, 2 wrong use."
)
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

Subcommand = Callable[["_Origin", argparse.Namespace], object]
Columns = Sequence[tuple[str, str]]


def register_keys(subparsers: Subparsers) -> None:
    """Add `visavis keys`."""
    commands = _group(subparsers, "keys", "API keys and signing keys of a running origin")
    _add(commands, "list", "show the API keys", _list_keys)
    create = _add(commands, "create", "make an API key; its secret is shown once", _create_key)
    create.add_argument("name", help="what it is for, for people")
    for flag, what in (
        ("mode", "a mode that it may ask for"),
        ("character", "a character"),
        ("transport", "a transport"),
        ("region", "a region where the data may be"),
    ):
        create.add_argument(f"--{flag}", action="append", default=[], help=f"{what}; may be given several times")
    create.add_argument("--admin", action="store_true", help="it may use the admin API")
    create.add_argument("--sessions-max", type=int, default=0, metavar="N", help="sessions at once; 0: no limit")
    create.add_argument("--per-minute", type=int, default=0, metavar="N", help="tickets per minute; 0: no limit")
    rotate = _add(commands, "rotate", "give an API key a new secret", _rotate_key)
    rotate.add_argument("id", help="as `visavis keys list` shows it")
    rotate.add_argument("--grace", type=_seconds, default=3_600, help="how long the old one stays good, e.g. 90s, 2h")
    revoke = _add(commands, "revoke", "make an API key worthless and end its sessions", _revoke_key)
    revoke.add_argument("id", help="as `visavis keys list` shows it")
    _add(commands, "rotate-signing", "sign tickets with the next key from now on", _rotate_signing)


def register_sessions(subparsers: Subparsers) -> None:
    """Add `visavis sessions`."""
    commands = _group(subparsers, "sessions", "sessions of a running origin")
    _add(commands, "list", "show the sessions", _list_sessions)
    kick = _add(commands, "kick", "end a session at once; its viewer is told", _kick)
    kick.add_argument("id", help="as `visavis sessions list` shows it")


def register_pops(subparsers: Subparsers) -> None:
    """Add `visavis pops`."""
    commands = _group(subparsers, "pops", "POPs that a running origin knows")
    _add(commands, "list", "show the POPs", _list_pops)


def _group(subparsers: Subparsers, name: str, what: str) -> Subparsers:
    parser = subparsers.add_parser(name, help=f"show and change the {what}", description=f"The {what}.")
    return parser.add_subparsers(dest=f"{name}_command", required=True, metavar="COMMAND")


def _add(commands: Subparsers, name: str, what: str, run: Subcommand) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=_EPILOG)
    parser.add_argument("--origin", metavar="URL", help="the origin; default: where the configuration has it")
    parser.add_argument("--json", action="store_true", help="print the origin's JSON and nothing else")
    add_config_arguments(parser, OriginConfig, "origin")
    parser.set_defaults(handler=lambda options: _run(options, run))
    return parser


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(\d{1,7})([smhd]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time like 90s, 30m, 2h or 1d")
    return int(match[1]) * _UNITS[match[2] or "s"]


# --- asking ------------------------------------------------------------------------------------------------------


class _RefusedError(Exception):
    """The origin did not do it; one sentence."""


class _Origin:
    """The admin API of one origin."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The answer's JSON, None without one. Raises: _RefusedError."""
        import httpx

        try:
            response = self._http.request(method, f"/v1/admin/{path}", json=body)
        except httpx.HTTPError as error:
            why = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
            raise _RefusedError(
                f"the origin at {self._http.base_url} cannot be reached ({why}); is it running?"
            ) from None
        if response.is_success:
            return response.json() if response.content else None
        try:
            problem = response.json()
            said = f"{problem['detail']} ({problem['code']})"
        except (ValueError, KeyError, TypeError):
            said = f"HTTP {response.status_code}; is that an origin of Visavis?"
        raise _RefusedError(said)


def _run(options: argparse.Namespace, run: Subcommand) -> int:
    import httpx

    config = load_config(OriginConfig, section="origin", path=options.config, overrides=overrides_from(options))
    url = options.origin or _url(config)
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"--origin must be a URL that begins with http:// or https://, not {url!r}")
    headers = {"Authorization": f"Bearer {_admin_key(config)}"}
    with httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=_TIMEOUT_S, trust_env=False) as http:
        try:
            answer = run(_Origin(http), options)
        except _RefusedError as refused:
            sys.stderr.write(f"visavis: {refused}\n")
            return _EXIT_REFUSED
    if options.json:
        sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def _url(config: OriginConfig) -> str:
    host = "127.0.0.1" if config.host in ("0.0.0.0", "::") else config.host  # noqa: S104 - asked, not bound
    return f"http://[{host}]:{config.port}" if ":" in host else f"http://{host}:{config.port}"


def _admin_key(config: OriginConfig) -> str:
    given = os.environ.get(ADMIN_KEY_VARIABLE, "").strip()
    path = config.fabric.parent / "admin-key"
    if given or not path.exists():
        if not given:
            raise ConfigError(
                f"there is no admin key at {path}: is an origin running? Set {ADMIN_KEY_VARIABLE}, or say where its "
                "runtime directory is with --set run.directory=…"
            )
        return given
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"the admin key {path} cannot be read ({error.strerror}); set {ADMIN_KEY_VARIABLE}") from None


# --- what can be asked -------------------------------------------------------------------------------------------


def _list_keys(origin: _Origin, options: argparse.Namespace) -> object:
    answer = origin.ask("GET", "keys")
    rows = [
        {
            **key,
            "may": ", ".join([*key["modes"], *key["characters"], *key["transports"], *key["regions"]]) or "everything",
            "limits": _limits(key),
            "state": "revoked" if key["revoked_at"] else "admin" if key["admin"] else "good",
        }
        for key in answer["keys"]
    ]
    columns = (("id", "id"), ("name", "name"), ("may ask for", "may"), ("limits", "limits"), ("state", "state"))
    _table(options, "API keys", columns, rows, "There are no API keys in the store.")
    return answer


def _limits(key: dict[str, Any]) -> str:
    limits = [(key["sessions_max"], "sessions"), (key["tickets_per_minute"], "per minute")]
    return ", ".join(f"{count} {what}" for count, what in limits if count) or "none"


def _create_key(origin: _Origin, options: argparse.Namespace) -> object:
    wish = {
        "name": options.name,
        "modes": options.mode,
        "characters": options.character,
        "transports": options.transport,
        "regions": options.region,
        "admin": options.admin,
        "sessions_max": options.sessions_max,
        "tickets_per_minute": options.per_minute,
    }
    answer = origin.ask("POST", "keys", wish)
    _say(options, f"{answer['secret']}\nThis is the key {answer['id']}; nobody can show it again.")
    return answer


def _rotate_key(origin: _Origin, options: argparse.Namespace) -> object:
    answer = origin.ask("POST", f"keys/{options.id}/rotate", {"grace_s": options.grace})
    _say(options, f"{answer['secret']}\nThe secret before is good for another {options.grace} s.")
    return answer


def _revoke_key(origin: _Origin, options: argparse.Namespace) -> object:
    answer = origin.ask("DELETE", f"keys/{options.id}")
    _say(options, f"The key {answer['id']} is revoked; {answer['sessions_ended']} of its sessions were ended.")
    return answer


def _rotate_signing(origin: _Origin, options: argparse.Namespace) -> object:
    answer = origin.ask("POST", "signing-keys/rotate")
    _say(options, f"Tickets are signed with {answer['current']} now.")
    return answer


def _list_sessions(origin: _Origin, options: argparse.Namespace) -> object:
    answer = origin.ask("GET", "sessions")
    rows = [
        {
            **row,
            "at": row["pop"] or f"not opened ({', '.join(row['candidates'])})",
            "age": _age(row["created_at"]),
            "by": row["key"] or "",
        }
        for row in answer["sessions"]
    ]
    columns = (
        ("id", "id"),
        ("character", "character"),
        ("mode", "mode"),
        ("POP", "at"),
        ("epoch", "epoch"),
        ("age", "age"),
        ("key", "by"),
    )
    _table(options, "Sessions", columns, rows, "There are no sessions.")
    return answer


def _kick(origin: _Origin, options: argparse.Namespace) -> object:
    origin.ask("DELETE", f"sessions/{options.id}")
    _say(options, f"The session {options.id} was ended.")
    return {"id": options.id, "ended": True}


def _list_pops(origin: _Origin, options: argparse.Namespace) -> object:
    answer = origin.ask("GET", "pops")
    rows = [
        {
            **row,
            "busy": f"{row['load']:.0%}",
            "here": f"{row['sessions']} of {row['capacity']}" if row["capacity"] else str(row["sessions"]),
            "heard": "" if row["silent_s"] is None else f"{row['silent_s']:.1f} s ago",
            "where": " ".join(filter(None, (row["region"], row["carrier"]))),
        }
        for row in answer["pops"]
    ]
    columns = (
        ("name", "name"),
        ("state", "state"),
        ("load", "busy"),
        ("sessions", "here"),
        ("heard", "heard"),
        ("region", "where"),
        ("URL", "url"),
    )
    _table(options, "POPs", columns, rows, "No POP has announced itself.")
    return answer


# --- showing -----------------------------------------------------------------------------------------------------


def _age(created_at: int) -> str:
    seconds = max(0, int(time.time()) - created_at)
    return next((f"{seconds // size} {unit}" for unit, size in reversed(_UNITS.items()) if seconds >= size), "0 s")


def _say(options: argparse.Namespace, text: str) -> None:
    if not options.json:
        sys.stdout.write(text + "\n")


def _table(
    options: argparse.Namespace, title: str, columns: Columns, rows: Sequence[dict[str, Any]], nothing: str
) -> None:
    if options.json:
        return
    if not rows:
        sys.stdout.write(nothing + "\n")
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading, _ in columns:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(row[name])) for _, name in columns))
    Console(highlight=False).print(table)
