"""The catalog of sagas.

Defines `SAGAS`, by name. A saga exists when it stands here; its module holds its meaning.
"""

from __future__ import annotations

from analytics_pipelines.sagas.campaign_launch import CAMPAIGN_LAUNCH

SAGAS = {saga.name: saga for saga in (CAMPAIGN_LAUNCH,)}
