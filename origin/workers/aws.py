"""Workers on machines of an AWS Auto Scaling group: this origin says how many, the group makes and ends them.

Each machine runs `visavis worker --name … --instance <its instance id>`, so that the one that serves nobody can be
ended and no other. boto3 takes credentials from where AWS tools do; none are in the configuration.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from core.errors import ConfigError, FabricError

__all__ = ["AwsAutoScalingGroup", "open_group"]

_log = logging.getLogger(__name__)


class AwsAutoScalingGroup:
    """`origin.workers.providers.Provider` over the Auto Scaling API, version 2011-01-01.

    Args:
        client: boto3's for `autoscaling`.
        group: name of the group; its maximum bounds what is started.
    """

    def __init__(self, client: Any, group: str) -> None:
        self._client = client
        self._group = group
        self._lock = asyncio.Lock()

    async def start(self, count: int) -> None:
        """See Provider. Raises: FabricError: `provider-failed`, AWS refuses or cannot be reached."""
        async with self._lock:
            await self._call(self._grow, count)

    async def stop(self, name: str, instance: str, *, at_once: bool = False) -> None:
        """See Provider. A worker that names no instance is not one of the group's, and is left alone.

        Raises: FabricError: `provider-failed`.
        """
        if not instance:
            _log.warning("worker %s names no instance; it is not ended", name)
            return
        # A worker that is no good is replaced by the group; one that is not needed is not.
        async with self._lock:
            await self._call(
                lambda: self._client.terminate_instance_in_auto_scaling_group(
                    InstanceId=instance, ShouldDecrementDesiredCapacity=not at_once
                )
            )

    def adopt(self, name: str, pid: int) -> None:
        """See Provider: the group knows its machines."""

    async def aclose(self) -> None:
        """See Provider: machines outlive an origin."""

    def _grow(self, count: int) -> None:
        answer = self._client.describe_auto_scaling_groups(AutoScalingGroupNames=[self._group])
        if not answer["AutoScalingGroups"]:
            raise FabricError("provider-failed", f"there is no Auto Scaling group {self._group!r}")
        group = answer["AutoScalingGroups"][0]
        wanted = min(group["MaxSize"], group["DesiredCapacity"] + count)
        if wanted > group["DesiredCapacity"]:
            self._client.set_desired_capacity(
                AutoScalingGroupName=self._group, DesiredCapacity=wanted, HonorCooldown=False
            )
        else:
            _log.error("the Auto Scaling group %s is at its maximum of %d", self._group, group["MaxSize"])

    async def _call(self, work: Any, *arguments: Any) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            await asyncio.to_thread(work, *arguments)
        except (BotoCoreError, ClientError) as error:
            raise FabricError("provider-failed", f"AWS: {error}") from None


def open_group(group: str, region: str) -> AwsAutoScalingGroup:
    """Raises: ConfigError: boto3 is not installed, or the group or its region is not named."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise ConfigError('origin.pool.provider is "aws", which needs: pip install "visavis[aws]"') from None
    if not group:
        raise ConfigError('origin.pool.provider is "aws"; name its group with origin.pool.aws_group')
    try:
        client = boto3.client("autoscaling", region_name=region or None)
    except BotoCoreError as error:
        raise ConfigError(f"AWS cannot be used ({error}); see origin.pool.aws_region") from None
    return AwsAutoScalingGroup(client, group)
