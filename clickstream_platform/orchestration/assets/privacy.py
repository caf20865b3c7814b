"""Privacy asset: the register of subject requests, as far as it may be read by people."""

import dagster as dg

from clickstream_platform.orchestration.checks import contract_check
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.stages import REQUESTS
from clickstream_platform.orchestration.tables import TRANSIENT, Materialized, materialize, table


@dg.multi_asset(
    name="mirror_register",
    specs=[table("subject_requests", stage=REQUESTS, owner="privacy", kinds={"sqlite"})],
    pool=REQUESTS.pool,
    retry_policy=TRANSIENT,
)
def subject_requests(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Mirror the sealed register into the lake, without who asks."""
    yield from materialize(context, platform, REQUESTS)


privacy_checks = [contract_check("subject_requests", REQUESTS)]
"""Contract checks of the tables above."""
