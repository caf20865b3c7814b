"""Laws whose every example is a life of tables: few, the same each time, never shrunk."""

from hypothesis import HealthCheck, Phase, settings


def lives(examples: int, *suppressed: HealthCheck) -> settings:
    """Settings of such a law; to shrink one that failed would take hours."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, *suppressed],
    )
