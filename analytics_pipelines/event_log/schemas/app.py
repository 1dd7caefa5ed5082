"""Events of an app: workspaces, users, sessions, agent executions, credits, experiments, feature flags.

Defines the payload (`data`) of each event type. Add a type here when its aggregate is a workspace, a user, a session,
an agent, an experiment or a feature flag. Durations are milliseconds; credits are decimal and no money.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from analytics_pipelines.event_log.schemas.payload import (
    Credits,
    Identifier,
    Milliseconds,
    Payload,
    PersonalText,
    Share,
    SignedNumber,
    WholeNumber,
)


class WorkspaceCreated(Payload):
    """A workspace was created for a lead. Stream: `workspace-<workspace_id>`."""

    workspace_id: Identifier
    lead_id: Identifier
    plan: str


class WorkspacePlanChanged(Payload):
    """A workspace is on another plan from now on. Stream: `workspace-<workspace_id>`."""

    workspace_id: Identifier
    plan: str
    previous_plan: str | None = None


class WorkspaceDeleted(Payload):
    """A workspace was given up. Stream: `workspace-<workspace_id>`."""

    workspace_id: Identifier


class UserInvited(Payload):
    """Somebody was invited to a workspace. Stream: `user-<user_id>`."""

    subject_field: ClassVar[str | None] = "user_id"

    user_id: Identifier
    workspace_id: Identifier
    email: PersonalText | None = None
    invited_by: Identifier | None = None


class UserRegistered(Payload):
    """A user signed up to a workspace, which the onboarding saga answers. Stream: `user-<user_id>`."""

    subject_field: ClassVar[str | None] = "user_id"

    user_id: Identifier
    workspace_id: Identifier
    role: str | None = None
    name: PersonalText | None = None
    email: PersonalText | None = None
    phone: PersonalText | None = None


class UserOnboarded(Payload):
    """A user took the first steps to the end. Stream: `user-<user_id>`."""

    user_id: Identifier
    workspace_id: Identifier


class UserDeactivated(Payload):
    """A user has no access any more. Stream: `user-<user_id>`."""

    user_id: Identifier
    workspace_id: Identifier
    reason: str | None = None


class SessionStarted(Payload):
    """A user began to use the app. Stream: `session-<session_id>`."""

    session_id: Identifier
    user_id: Identifier
    workspace_id: Identifier


class SessionEnded(SessionStarted):
    """A user stopped using the app. Stream: `session-<session_id>`."""

    duration_ms: Milliseconds


class AgentCreated(Payload):
    """An agent was set up in a workspace. Stream: `agent-<agent_id>`."""

    agent_id: Identifier
    workspace_id: Identifier
    name: str
    model: str | None = None


class AgentDeleted(Payload):
    """An agent was removed. Stream: `agent-<agent_id>`."""

    agent_id: Identifier
    workspace_id: Identifier


class AgentExecutionStarted(Payload):
    """An agent began to work. Stream: `agent-<agent_id>`."""

    execution_id: Identifier
    agent_id: Identifier
    workspace_id: Identifier
    user_id: Identifier | None = None


class AgentExecutionCompleted(Payload):
    """An agent finished its work. Stream: `agent-<agent_id>`."""

    execution_id: Identifier
    agent_id: Identifier
    workspace_id: Identifier
    duration_ms: Milliseconds
    credits: Credits


class AgentExecutionFailed(AgentExecutionCompleted):
    """An agent gave up; the credits it used up to then are charged. Stream: `agent-<agent_id>`."""

    error: str


class CreditsGranted(Payload):
    """Credits bought with an order were added. Stream: `workspace-<workspace_id>`."""

    workspace_id: Identifier
    credits: Credits
    order_id: Identifier


class CreditsReserved(Payload):
    """Credits were set aside for a campaign. Stream: `workspace-<workspace_id>`."""

    workspace_id: Identifier
    credits: Credits
    campaign_id: Identifier


class CreditsReleased(CreditsReserved):
    """Credits set aside for a campaign were given back. Stream: `workspace-<workspace_id>`."""


class CreditsUsed(Payload):
    """Credits were taken off for what is no agent's execution. Stream: `workspace-<workspace_id>`."""

    workspace_id: Identifier
    credits: Credits
    purpose: str


class Variant(Payload):
    """One variant of an experiment. Its share of the subjects is `weight` over the sum of all weights."""

    variant: Identifier
    weight: Annotated[WholeNumber, Field(ge=1)]


class ExperimentStarted(Payload):
    """An experiment began, its subjects spread evenly over the variants. Stream: `experiment-<experiment_id>`."""

    experiment_id: Identifier
    name: str
    variants: Annotated[list[Identifier], Field(min_length=2, description="The variants; the first is the control")]
    hypothesis: str | None = None


class ExperimentStartedV2(Payload):
    """An experiment began, its subjects spread over the variants by weight. Stream: `experiment-<experiment_id>`."""

    experiment_id: Identifier
    name: str
    variants: Annotated[list[Variant], Field(min_length=2, description="The variants; the first is the control")]
    hypothesis: str | None = None


class ExperimentStopped(Payload):
    """An experiment takes no more subjects. Stream: `experiment-<experiment_id>`."""

    experiment_id: Identifier
    reason: str | None = None


class ExperimentAssigned(Payload):
    """A subject was given a variant, which it need not have seen yet. Stream: `workspace-<subject_id>`."""

    experiment_id: Identifier
    subject_id: Identifier
    variant: Identifier


class ExperimentExposed(Payload):
    """A subject saw a variant of an experiment for the first time. Stream: `workspace-<subject_id>`."""

    experiment_id: Identifier
    subject_id: Identifier
    variant: Identifier


class ExperimentConverted(Payload):
    """A subject of an experiment did what the experiment hopes for. Stream: `workspace-<subject_id>`."""

    experiment_id: Identifier
    subject_id: Identifier
    metric: str | None = None
    value: SignedNumber | None = None


class FeatureFlagCreated(Payload):
    """A feature can be switched on and off from now on. Stream: `feature_flag-<feature_flag_id>`."""

    feature_flag_id: Identifier
    enabled: bool
    rollout: Share | None = None


class FeatureFlagChanged(FeatureFlagCreated):
    """A feature was switched on or off, or is shown to another share. Stream: `feature_flag-<feature_flag_id>`."""


PAYLOADS: tuple[type[Payload], ...] = (
    WorkspaceCreated,
    WorkspacePlanChanged,
    WorkspaceDeleted,
    UserInvited,
    UserRegistered,
    UserOnboarded,
    UserDeactivated,
    SessionStarted,
    SessionEnded,
    AgentCreated,
    AgentDeleted,
    AgentExecutionStarted,
    AgentExecutionCompleted,
    AgentExecutionFailed,
    CreditsGranted,
    CreditsReserved,
    CreditsReleased,
    CreditsUsed,
    ExperimentStarted,
    ExperimentStartedV2,
    ExperimentStopped,
    ExperimentAssigned,
    ExperimentExposed,
    ExperimentConverted,
    FeatureFlagCreated,
    FeatureFlagChanged,
)
