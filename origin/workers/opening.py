"""A `WorkerSessions` as the configuration says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry

from core.errors import ConfigError, LocalProtocolError
from core.fabric.opening import OpenFabric
from core.session.pool import PoolPolicy
from origin.config import OriginConfig
from origin.sessions import Sessions
from origin.workers.controller import WorkerSessions
from origin.workers.keeper import Keeper
from origin.workers.metrics import WorkerMetrics
from origin.workers.providers import Elsewhere, LocalProcesses, Provider

__all__ = ["open_workers"]


def open_workers(
    config: OriginConfig,
    local: Sessions,
    fabric: OpenFabric,
    registry: CollectorRegistry,
    arguments: Sequence[str],
    on_answer: Callable[[Mapping[str, float]], None] = lambda stages: None,
    on_count: Callable[[int], None] = lambda count: None,
    on_counted: Callable[[str, int], None] = lambda name, times: None,
) -> WorkerSessions:
    """Make it; `open` starts it.

    Args:
        local: runs what no worker can.
        arguments: the configuration, for worker processes.
        on_answer: told the stages of each spoken turn, in milliseconds.
        on_count: told how many sessions there are.
        on_counted: told what workers have counted, and how often.
    Raises: ConfigError: a pool that cannot be.
    """
    pool = config.pool
    try:
        policy = PoolPolicy(mode=pool.mode, buffer=pool.buffer)
    except LocalProtocolError as error:
        raise ConfigError(f"origin.pool: {error}") from None
    keeper = Keeper(
        fabric.bus,
        fabric.store,
        WorkerMetrics(registry, on_answer, on_counted),
        policy,
        workers=config.workers,
        workers_max=pool.workers_max,
        slots_per_worker=config.slots_per_worker,
        ready_s=pool.ready_s,
        idle_s=pool.idle_s,
    )
    keeper.provider = _provider(config, keeper, arguments)
    return WorkerSessions(local, keeper, fabric.bus, fabric.store, open_s_max=config.open_s_max, on_count=on_count)


def _provider(config: OriginConfig, keeper: Keeper, arguments: Sequence[str]) -> Provider:
    pool = config.pool
    if pool.provider == "none":
        return Elsewhere()
    if pool.provider == "aws":
        from origin.workers.aws import open_group

        return open_group(pool.aws_group, pool.aws_region)
    return LocalProcesses(pool.name, arguments, config.fabric.parent / "workers", keeper.exited)
