"""Checks of the sources.

Defines what a person must look at before all that was sent is in the log. That nothing sent is lost on the way is held
by `append_counted`, which fails the source itself.
"""

from dagster import AssetCheckResult, AssetCheckSeverity, AssetKey, asset_check

from analytics_pipelines.resources import Platform


@asset_check(asset=AssetKey(["sources", "landing"]))
def no_file_failed(platform: Platform) -> AssetCheckResult:
    """No file lies in a tenant's `failed/`: correct it, put it back into the landing folder, or remove it."""
    from analytics_pipelines.ingestion.landing import failed

    files = failed(platform.settings.landing)
    return AssetCheckResult(
        passed=not files, severity=AssetCheckSeverity.WARN, metadata={"files": len(files), "reasons": files}
    )


CHECKS = [no_file_failed]
