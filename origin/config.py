"""What the origin can be told: section [origin] of the configuration."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.host.config import setting
from core.limits import WORKER_SLOTS_MAX

__all__ = ["LlmConfig", "OriginConfig", "PoolConfig", "SttConfig", "TtsConfig", "TurnConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmConfig:
    """Who thinks."""

    service: str = setting(
        "scripted", help='"scripted" (the character\'s own lines), "openai" (any compatible API) or "module:factory"'
    )
    base_url: str = setting("https://api.openai.com/v1", help="address of the OpenAI-compatible API")
    model: str = setting("gpt-4.1-mini", help="model to ask for")
    api_key: str = setting("", help="key of the API", secret=True)
    first_token_s: float = setting(6.0, help="after this the character apologises", minimum=0.1, maximum=60)
    stall_s: float = setting(4.0, help="longest pause within an answer", minimum=0.1, maximum=60)
    history_messages: int = setting(40, help="messages of the conversation that the model sees", minimum=2, maximum=400)


@dataclass(frozen=True, slots=True, kw_only=True)
class SttConfig:
    """Who listens."""

    service: str = setting(
        "pocketsphinx", help='"pocketsphinx" (embedded), "whisper", "openai" (any compatible API) or "module:factory"'
    )
    workers: int = setting(1, help="recogniser processes; each hears one viewer at a time", minimum=1, maximum=64)
    base_url: str = setting("https://api.openai.com/v1", help="address of the OpenAI-compatible API")
    model: str = setting("gpt-4o-mini-transcribe", help="model to ask for")
    api_key: str = setting("", help="key of the API", secret=True)
    timeout_s: float = setting(5.0, help="a transcript that takes longer has failed", minimum=0.5, maximum=60)
    whisper_model: str = setting("base.en", help="of faster-whisper: a name that it fetches, or a folder")
    whisper_device: str = setting("auto", help='where whisper runs: "auto", "cpu" or "cuda"')


@dataclass(frozen=True, slots=True, kw_only=True)
class TtsConfig:
    """Who speaks."""

    service: str = setting(
        "espeak",
        help='"espeak" (embedded), "piper", "kokoro", "http" (any server like Piper\'s), "openai" (any compatible API) '
        'or "module:factory"',
    )
    base_url: str = setting("https://api.openai.com/v1", help="address of the OpenAI-compatible API")
    model: str = setting("gpt-4o-mini-tts", help="model to ask for")
    voice: str = setting("coral", help="voice to ask the API for")
    api_key: str = setting("", help="key of the API", secret=True)
    server_url: str = setting(
        "", help="a server like Piper's that runs already; empty: piper and kokoro start one here"
    )
    server_voice: str = setting("", help="its voice; empty: en_US-lessac-medium for piper, af_heart for kokoro")
    server_folder: Path = setting(Path("run/voices"), help="where the files of piper's and kokoro's voices are")
    timeout_s: float = setting(5.0, help="a clause that takes longer has failed", minimum=0.5, maximum=60)
    bitrate_bps: int = setting(28_000, help="of the Opus voice", minimum=12_000, maximum=64_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnConfig:
    """When a user has finished. Silence is counted from the voice detector's opinion that speech has ended."""

    detector_stop_s: float = setting(0.15, help="silence until the detector says stop", minimum=0.05, maximum=2)
    complete_s: float = setting(0.0, help="further silence when the user has finished", minimum=0, maximum=5)
    pause_s: float = setting(0.4, help="further silence when more may come", minimum=0, maximum=5)
    smart: bool = setting(True, help="whether a model judges by the sound where the words leave it open")
    speculate: bool = setting(True, help="begin the answer at a pause, and throw it away if the user goes on")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """How many workers there are, and who starts them."""

    provider: Literal["local", "aws", "none"] = setting(
        "local", help="who starts workers: this origin, an AWS Auto Scaling group, or somebody else"
    )
    mode: Literal["absolute", "percent", "forecast"] = setting(
        "absolute", help="how many slots are kept warm: so many, per cent of those in use, or by the rate of arrivals"
    )
    buffer: float = setting(2.0, help="slots or per cent; the least in mode forecast", minimum=0, maximum=10_000)
    workers_max: int = setting(0, help="most workers; 0: as many as there are at start", minimum=0, maximum=1_000)
    ready_s: float = setting(60.0, help="a worker that takes longer to warm up is replaced", minimum=1, maximum=3_600)
    idle_s: float = setting(60.0, help="so long too many workers are kept", minimum=0, maximum=86_400)
    name: str = setting(
        "worker", help="first part of the names of this origin's workers; its own for each origin of a fabric"
    )
    aws_group: str = setting("", help="name of the Auto Scaling group")
    aws_region: str = setting("", help="its region; empty: as the AWS configuration says")


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginConfig:
    """Section [origin]."""

    host: str = setting("127.0.0.1", help="address of the HTTP API", flag="--host")
    port: int = setting(8081, help="TCP port of the HTTP API; 0: any free one", minimum=0, maximum=65535, flag="--port")
    fabric: Path = setting(
        Path("run/fabric.sock"), help="Unix socket of bus and store", flag="--fabric", beside="run.directory"
    )
    issuer: str = setting("", help="who tickets say they are from; POPs must trust the same; empty: this API's URL")
    characters: Path | None = setting(None, help="folder of character files (default: the ones that come along)")
    character: str = setting("mira", help="the character of who asks for none")
    greet: bool = setting(False, help="whether the character speaks first")
    allow_local: bool = setting(True, help="requests from this machine without an Origin header need no key")
    allowed_origins: tuple[str, ...] = setting((), help="browser origins besides those of the POPs' pages")
    api_keys: tuple[str, ...] = setting(
        (),
        help="keys of other clients (Authorization: Bearer), without limits; `visavis keys` makes others",
        secret=True,
    )
    admin_keys: tuple[str, ...] = setting(
        (), help="keys of the admin API, besides the one in the runtime directory", secret=True
    )
    signing_key_days: int = setting(
        30, help="a key signs tickets for so long, then the next one does; 0: until told", minimum=0, maximum=3_650
    )
    require_proof: bool = setting(False, help="only clients with a key of their own (proof of possession) get tickets")
    tickets_per_minute_per_address: int = setting(
        120, help="of who comes without an API key, this machine apart; 0: no limit", minimum=0, maximum=1_000_000
    )
    trusted_proxies: tuple[str, ...] = setting((), help="networks whose X-Forwarded-For is believed, as CIDR")
    carriers: dict[str, str] = setting({}, help="networks (CIDR) of mobile carriers, and the carrier's name")
    turn_urls: tuple[str, ...] = setting((), help="TURN relays for viewers, e.g. turn:turn.example:3478?transport=udp")
    turn_secret: str = setting("", help="secret shared with them (coturn: static-auth-secret)", secret=True)
    sessions_max: int = setting(200, help="sessions at once", minimum=1, maximum=100_000)
    open_s_max: float = setting(30.0, help="a ticket nobody used frees its session after this", minimum=1, maximum=600)
    workers: int = setting(
        0, help="worker processes, at least; 0: conversations run in the origin itself", minimum=0, maximum=1_000
    )
    slots_per_worker: int = setting(8, help="conversations of one worker at once", minimum=1, maximum=WORKER_SLOTS_MAX)
    pool: PoolConfig = setting(PoolConfig)
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", help="what is logged")
    log_format: Literal["logfmt", "json"] = setting("logfmt", help="how it is logged")
    llm: LlmConfig = setting(LlmConfig)
    stt: SttConfig = setting(SttConfig)
    tts: TtsConfig = setting(TtsConfig)
    turn: TurnConfig = setting(TurnConfig)

    def __post_init__(self) -> None:
        for name in (*self.trusted_proxies, *self.carriers):
            try:
                ipaddress.ip_network(name, strict=False)
            except ValueError:
                raise ValueError(f"{name} is no network like 198.51.100.0/24") from None
        if bool(self.turn_urls) != bool(self.turn_secret):
            raise ValueError("turn_urls and turn_secret belong together")
