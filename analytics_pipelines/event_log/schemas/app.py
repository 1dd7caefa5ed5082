"""Events of an app: workspaces, agent executions, credits, experiments.

Defines the payload (`data`) of each event type, version 1. Add a type here when its aggregate is a workspace or an
agent. Durations are milliseconds; credits are decimal and no money.
"""

from __future__ import annotations

from analytics_pipelines.event_log.schemas.payload import Identifier, Number, Payload, WholeNumber

Credits = Number


class WorkspaceCreated(Payload):
    """A workspace was created for a lead. Stream: `workspace-<workspace_id>`."""

    workspace_id: Identifier
    lead_id: Identifier
    plan: str


class AgentExecutionCompleted(Payload):
    """An agent finished its work. Stream: `agent-<agent_id>`."""

    execution_id: Identifier
    agent_id: Identifier
    workspace_id: Identifier
    duration_ms: WholeNumber
    credits: Credits


class AgentExecutionFailed(AgentExecutionCompleted):
    """An agent gave up; the credits it used up to then are charged."""

    error: str


class CreditsGranted(Payload):
    """Credits bought with an order were added. Stream: that of the workspace, as for what follows."""

    workspace_id: Identifier
    credits: Credits
    order_id: Identifier


class CreditsReserved(Payload):
    """Credits were set aside for a campaign."""

    workspace_id: Identifier
    credits: Credits
    campaign_id: Identifier


class CreditsReleased(CreditsReserved):
    """Credits set aside for a campaign were given back."""


class ExperimentExposed(Payload):
    """A subject saw a variant of an experiment for the first time."""

    experiment_id: Identifier
    subject_id: Identifier
    variant: Identifier


class ExperimentConverted(Payload):
    """A subject of an experiment did what the experiment hopes for."""

    experiment_id: Identifier
    subject_id: Identifier
