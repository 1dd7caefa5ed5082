FROM python:3.12-slim-bookworm AS build
COPY --from=ghcr.io/astral-sh/uv:0.9 /uv /usr/local/bin/uv
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PROJECT_ENVIRONMENT=/opt/venv
WORKDIR /app
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --locked --no-dev --no-install-project
COPY analytics_pipelines analytics_pipelines
COPY dbt_project dbt_project
RUN uv sync --locked --no-dev && cd dbt_project && /opt/venv/bin/dbt parse --quiet --profiles-dir .

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/pipelines --create-home pipelines \
    && install -d -o pipelines -g pipelines /opt/dagster /var/lib/pipelines/landing
COPY --from=build /opt/venv /opt/venv
COPY --from=build --chown=pipelines:pipelines /app /app
COPY --chown=pipelines:pipelines dagster.yaml /opt/dagster/dagster.yaml
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 DAGSTER_HOME=/opt/dagster PIPELINES_HOME=/var/lib/pipelines
WORKDIR /app
USER pipelines
