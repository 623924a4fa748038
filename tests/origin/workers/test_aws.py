"""The Auto Scaling group, at the border of AWS's own client: requests and answers are checked against its API model.

It did not run against an account.
"""

from __future__ import annotations

import boto3
import pytest
from botocore.stub import Stubber

from core.errors import ConfigError, FabricError
from origin.workers.aws import AwsAutoScalingGroup, open_group


def group() -> tuple[AwsAutoScalingGroup, Stubber]:
    client = boto3.client(
        "autoscaling", region_name="eu-central-1", aws_access_key_id="none", aws_secret_access_key="none"
    )
    return AwsAutoScalingGroup(client, "workers"), Stubber(client)


def described(desired: int, largest: int = 4) -> dict[str, object]:
    return {
        "AutoScalingGroups": [
            {
                "AutoScalingGroupName": "workers",
                "MinSize": 0,
                "MaxSize": largest,
                "DesiredCapacity": desired,
                "DefaultCooldown": 300,
                "AvailabilityZones": ["eu-central-1a"],
                "HealthCheckType": "EC2",
                "CreatedTime": 0,
            }
        ]
    }


ASKED = {"AutoScalingGroupNames": ["workers"]}


async def test_more_are_started_up_to_the_groups_maximum() -> None:
    provider, aws = group()
    aws.add_response("describe_auto_scaling_groups", described(2), ASKED)
    wanted = {"AutoScalingGroupName": "workers", "DesiredCapacity": 4, "HonorCooldown": False}
    aws.add_response("set_desired_capacity", {}, wanted)
    aws.add_response("describe_auto_scaling_groups", described(4), ASKED)
    with aws:
        await provider.start(5)
        await provider.start(1)  # it is full: nothing is asked for
        aws.assert_no_pending_responses()


async def test_the_one_that_serves_nobody_is_ended_and_no_other() -> None:
    provider, aws = group()
    for name, shrinks in (("i-0123456789abcdef0", True), ("i-0123456789abcdef1", False)):
        asked = {"InstanceId": name, "ShouldDecrementDesiredCapacity": shrinks}
        aws.add_response("terminate_instance_in_auto_scaling_group", {}, asked)
    with aws:
        await provider.stop("w0", "i-0123456789abcdef0")
        await provider.stop("w1", "i-0123456789abcdef1", at_once=True)
        await provider.stop("laptop", "")  # not one of the group's
        aws.assert_no_pending_responses()


async def test_what_aws_refuses_is_one_clear_error() -> None:
    provider, aws = group()
    aws.add_client_error("describe_auto_scaling_groups", "AccessDenied", "not authorized")
    aws.add_response("describe_auto_scaling_groups", {"AutoScalingGroups": []}, ASKED)
    with aws:
        with pytest.raises(FabricError, match="not authorized") as refused:
            await provider.start(1)
        assert refused.value.code == "provider-failed"
        with pytest.raises(FabricError, match="no Auto Scaling group"):
            await provider.start(1)


def test_a_group_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="aws_group"):
        open_group("", "eu-central-1")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(ConfigError, match="aws_region"):
        open_group("workers", "")
