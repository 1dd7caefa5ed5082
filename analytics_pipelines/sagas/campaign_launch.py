"""The saga `campaign_launch`: from the request to a campaign that has begun, or to nothing at all.

Defines its steps. They only read and append to the log, so each of them happens once. Sending is another matter.
"""

from __future__ import annotations

from analytics_pipelines.sagas.saga import Effect, Outcome, Saga, Step, StepContext, StepFailedError


def reserve_credits(context: StepContext) -> Outcome:
    """Set the budget aside in the workspace that pays."""
    stream_id = f"workspace-{context.request['workspace_id']}"
    known = context.connection.execute(
        """
        select from event_log.events
        where tenant_id = %s and stream_id = %s and event_type = 'workspace_created'
        limit 1
        """,
        [context.tenant_id, stream_id],
    ).fetchone()
    if known is None:
        raise StepFailedError(f"workspace {context.request['workspace_id']} is unknown")
    return Outcome(effects=(Effect(stream_id, "credits_reserved", _credits(context)),))


def release_credits(context: StepContext) -> Outcome:
    """Give the budget back."""
    stream_id = f"workspace-{context.request['workspace_id']}"
    return Outcome(effects=(Effect(stream_id, "credits_released", _credits(context)),))


def select_audience(context: StepContext) -> Outcome:
    """Count the leads the campaign is for: those of an industry, or all."""
    industry = context.request.get("audience_industry")
    row = context.connection.execute(
        """
        select count(*) from read_models.lead_analytics
        where tenant_id = %(tenant_id)s and (%(industry)s::text is null or industry = %(industry)s)
        """,
        {"tenant_id": context.tenant_id, "industry": industry},
    ).fetchone()
    leads: int = row[0] if row else 0
    if leads == 0:
        raise StepFailedError(f"no lead is in the audience (industry {industry or 'any'})")
    selected = {"campaign_id": context.request["campaign_id"], "leads": leads}
    return Outcome({"leads": leads}, (Effect(_stream_of_campaign(context), "campaign_audience_selected", selected),))


def launch(context: StepContext) -> Outcome:
    """Begin the campaign on the day of the request."""
    launched = {
        **{name: context.request[name] for name in ("campaign_id", "name", "channel")},
        "starts_on": context.requested_at.date().isoformat(),
    }
    return Outcome(effects=(Effect(_stream_of_campaign(context), "campaign_launched", launched),))


def _credits(context: StepContext) -> dict[str, object]:
    return {
        "workspace_id": context.request["workspace_id"],
        "credits": context.request["budget_credits"],
        "campaign_id": context.request["campaign_id"],
    }


def _stream_of_campaign(context: StepContext) -> str:
    return f"campaign-{context.request['campaign_id']}"


CAMPAIGN_LAUNCH = Saga(
    name="campaign_launch",
    steps=(
        Step("reserve_credits", reserve_credits, compensation=release_credits),
        Step("select_audience", select_audience),
        Step("launch", launch),
    ),
    request_event="campaign_launch_requested",
    reads=("read_models/lead_analytics",),
)
