"""Settings of one POP (`[edge]` in visavis.toml); see core.host.config for where values come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.host.config import setting

__all__ = ["EdgeConfig"]

_STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeConfig:
    """One POP."""

    host: str = setting("127.0.0.1", help="address the page and the signalling are served on")
    port: int = setting(8080, help="their TCP port; 0: any free one", minimum=0, maximum=65_535, flag="--port")
    name: str = setting("local", help="this POP's name, the audience of its tickets")
    public_url: str = setting("", help="base URL viewers reach this POP by; empty: derived from host and port")
    origin_url: str = setting("http://127.0.0.1:8081", help="base URL viewers and this POP reach the origin by")
    issuer: str = setting("", help="whose tickets are good (their `iss`); empty: the origin's URL")
    fabric: Path = setting(Path("run/fabric.sock"), help="Unix socket of the local fabric")
    capacity: int = setting(50, help="sessions admitted at once", minimum=1, maximum=10_000)
    loopback: bool | None = setting(
        None, help="offer media candidates on 127.0.0.1; default: when the page is served on loopback only"
    )
    allowed_origins: tuple[str, ...] = setting(
        ("*",), help="web origins whose pages may open links here; tickets decide who gets in, not cookies"
    )
    connect_sources: tuple[str, ...] = setting((), help="more URLs the page may connect to, e.g. other POPs")
    static_dir: Path = setting(_STATIC, help="the built client")
    log_format: str = setting("logfmt", help="logfmt for people, json for machines")

    @property
    def on_loopback(self) -> bool:
        """The page is served to this machine only."""
        return self.host in ("127.0.0.1", "::1", "localhost")

    @property
    def offers_loopback(self) -> bool:
        """Whether links offer candidates on 127.0.0.1."""
        return self.on_loopback if self.loopback is None else self.loopback

    @property
    def trusted_issuer(self) -> str:
        """The issuer whose tickets are good."""
        return self.issuer or self.origin_url.rstrip("/")

    @property
    def key_set_url(self) -> str:
        """Where the issuer's public keys are."""
        return f"{self.origin_url.rstrip('/')}/.well-known/jwks.json"
