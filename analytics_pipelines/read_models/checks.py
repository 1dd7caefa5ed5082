"""Checks of the read models, the same for each.

Defines their names and words; what each looks at stands in `checking.py`. A run checks what its events touched, and
the job `nightly_checks` every row.
"""

from collections.abc import Iterator

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    multi_asset_check,
)

from analytics_pipelines.read_models.assets import asset_key
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.resources import Platform

CHECKS_EVERYTHING = {"pipelines/checks": "everything"}
"""The tag of runs whose checks look at every row."""

WORDS = {
    "position_is_settled": "The model has not read past the position up to which the log is settled.",
    "no_invalid_key": "No row has an empty key. Events without a key change nothing; they are counted.",
    "serves_its_declaration": "What is served is what the code declares: no former version is held.",
    "live_equals_replay": "The rows that new events touched, replayed from zero, are the very rows that are live.",
}
WARNS = {"serves_its_declaration"}


def _checks(model: ReadModel) -> AssetChecksDefinition:
    specs = [
        AssetCheckSpec(name, asset=asset_key(model), blocking=name not in WARNS, description=text)
        for name, text in WORDS.items()
    ]

    @multi_asset_check(name=f"{model.name}_checks", specs=specs, can_subset=True)
    def checks(context: AssetCheckExecutionContext, platform: Platform) -> Iterator[AssetCheckResult]:
        from analytics_pipelines.read_models import checking

        selected = {key.name for key in context.selected_asset_check_keys}
        everything = CHECKS_EVERYTHING.items() <= context.run.tags.items()
        built = asset_key(model) in (context.run.asset_selection or ())
        names = [name for name in WORDS if name in selected]
        for name, found in checking.look(platform.pool, model, names, everything=everything, built=built):
            yield AssetCheckResult(
                passed=found.passed,
                asset_key=asset_key(model),
                check_name=name,
                severity=AssetCheckSeverity.WARN if found.is_warning else AssetCheckSeverity.ERROR,
                metadata=found.facts,
            )

    return checks


CHECKS = [_checks(model) for model in READ_MODELS.values()]
