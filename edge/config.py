"""Settings of one POP (`[edge]` in visavis.toml); see core.host.config for where values come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

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
    location: str = setting(
        "", help="latitude and longitude in degrees, e.g. 50.1,8.7: where the operator's console shows this POP"
    )
    region: str = setting(
        "", help="where what this POP processes stays, e.g. eu; who asks for a region gets only those"
    )
    carrier: str = setting("", help="the mobile network it is inside of: only that network's devices are sent here")
    fabric: Path = setting(Path("run/fabric.sock"), help="Unix socket of the local fabric", beside="run.directory")
    capacity: int = setting(50, help="sessions admitted at once", minimum=1, maximum=10_000)
    processes: int = setting(
        1, help="processes of this POP, each a POP of its own behind one page; 0: one per core", minimum=0, maximum=256
    )
    page_port: int | None = setting(
        None, help="serve the page on this port too, together with others of this machine", minimum=1, maximum=65_535
    )
    animator: Literal["student", "rules"] = setting(
        "student", help="who moves the faces: the student network, or the rules, which also take over where it fails"
    )
    animator_precision: Literal["auto", "fp32", "int8"] = setting(
        "auto", help="of the student; auto: whichever is faster on this machine at start"
    )
    animator_compiled: bool = setting(
        True, help="faces in machine code: a third more of them per core; false: 60 MB less memory, and a quicker start"
    )
    animator_models: Path | None = setting(None, help="folder of the student's files; default: those that come along")
    webtransport: bool = setting(True, help="serve WebTransport beside WebRTC")
    webtransport_port: int | None = setting(
        None, help="its UDP port; 0: any free one; default: the number of the page's port", minimum=0, maximum=65_535
    )
    quic_engine: Literal["aioquic", "qh3"] = setting("aioquic", help="who does QUIC: aioquic, or qh3 if installed")
    tls_certificate: Path | None = setting(
        None,
        help="PEM file of WebTransport's certificate and chain; default: self-signed, known to tickets by its hash",
    )
    tls_key: Path | None = setting(None, help="PEM file of its private key")
    loopback: bool | None = setting(
        None, help="offer media candidates on 127.0.0.1; default: when the page is served on loopback only"
    )
    allowed_origins: tuple[str, ...] = setting(
        ("*",), help="web origins whose pages may open links here; tickets decide who gets in, not cookies"
    )
    connect_sources: tuple[str, ...] = setting((), help="more URLs the page may connect to, e.g. other POPs")
    prewarm: bool = setting(True, help="prepare for viewers when the origin mints their tickets")
    rate_controller: str = setting(
        "ladder", help="what fits redundancy and rate to each viewer's link: ladder, gcc, or an installed package's own"
    )
    static_dir: Path = setting(_STATIC, help="the built client")
    log_format: str = setting("logfmt", help="logfmt for people, json for machines")

    def __post_init__(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        if self.location and not _is_place(self.location):
            raise ValueError("location is latitude,longitude in degrees, e.g. 50.1,8.7")

    @property
    def on_loopback(self) -> bool:
        """The page is served to this machine only."""
        return self.host in ("127.0.0.1", "::1", "localhost")

    @property
    def page_url(self) -> str:
        """Where the page is, if that is not this POP's own address; empty: it is."""
        return f"http://{self.host}:{self.page_port}" if self.page_port else ""

    def webtransport_url(self, port: int) -> str:
        """Base URL of the QUIC endpoint on this UDP port; CSP's `*` when it is not known yet (0)."""
        host = urlsplit(self.public_url).hostname or self.host
        return f"https://{f'[{host}]' if ':' in host else host}:{port or '*'}"

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


def _is_place(text: str) -> bool:
    try:
        latitude, longitude = map(float, text.split(","))
    except ValueError:
        return False
    return abs(latitude) <= 90.0 and abs(longitude) <= 180.0
