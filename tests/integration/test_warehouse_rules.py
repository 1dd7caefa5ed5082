"""The rules of the dbt project, which are queries over it: run by dbt from the shell, on a database with nothing in it.

What dbt compiled is run once more by itself, as dbt counts what a rule finds and does not tell it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import psycopg

from analytics_pipelines import connections
from analytics_pipelines.warehouse.dbt import dbt_environment
from analytics_pipelines.warehouse.manifest import DBT, PROJECT

if TYPE_CHECKING:
    from pathlib import Path

    from analytics_pipelines.settings import Settings

RULES = {path.stem for path in (PROJECT / "tests" / "rules").glob("*.sql")}


def broken(settings: Settings, project: Path, target: Path) -> dict[str, set[str]]:
    """Load the exceptions of a project, run its rules, and return the models that break each."""
    url = connections.database_url(settings)
    folders = ["--project-dir", project, "--profiles-dir", project, "--target-path", target]
    done = subprocess.run(
        [*DBT, "--no-use-colors", "--log-level-file", "none", "build", "--select", "rule_exceptions+", *folders],
        env=os.environ | dbt_environment(url, 0), capture_output=True, text=True, check=False,
    )  # fmt: skip
    found: dict[str, set[str]] = {}
    with psycopg.connect(url) as connection:
        for path in target.glob("compiled/*/tests/rules/*.sql"):
            rows = connection.execute(path.read_bytes()).fetchall()
            found[path.stem] = {model for model, _ in rows}
            is_told = f"FAIL {len(rows)} {path.stem} " if rows else f"PASS {path.stem} "
            assert is_told in done.stdout, done.stdout
            assert all(remedy for _, remedy in rows)
    assert done.returncode == any(found.values()), done.stdout
    return found


def test_no_model_breaks_a_rule(database_settings: Settings, tmp_path: Path) -> None:
    """No model breaks a rule but those excepted with a reason, and these still do; no BI login reads the exceptions."""
    assert broken(database_settings, PROJECT, tmp_path) == {rule: set() for rule in RULES}
    with psycopg.connect(connections.admin_url(database_settings)) as admin:
        query = "select has_table_privilege('bi_reader', 'staging.rule_exceptions', 'select')"
        assert admin.execute(query).fetchall() == [(False,)]


# A file of the models, a text in it and what takes its place; by rule, the model that then breaks it.
BREAKS = (
    ("marts/sales/fct_refunds.yml", "- name: currency", "- name: money", {"adds_up_currencies": "fct_refunds"}),
    ("staging/stg_stores.yml", " to sell (UTC)", " to sell", {"calls_a_time_or_flag_otherwise": "stg_stores"}),
    (
        "staging/stg_products.yml",
        "- name: tenant_id",
        "- {name: number, data_type: integer, description: Which.}\n      - name: tenant_id",
        {"does_not_begin_with_its_tenant": "stg_products"},
    ),
    ("staging/stg_agents.yml", "One row per", "Rows by", {"does_not_say_its_grain": "stg_agents"}),
    (
        "marts/sales/fct_store_months.sql",
        "'store_id', ",
        "'shop_id', ",
        {"has_a_key_that_may_be_null": "fct_store_months"},
    ),
    (
        "marts/crm/fct_deal_stages.yml",
        "name: fct_deal_stages_",
        "name: deal_stages_",
        {"has_a_test_that_explains_nothing": "fct_deal_stages", "has_no_test_of_its_key": "fct_deal_stages"},
    ),
    (
        "marts/crm/dim_leads.sql",
        "['tenant_id', 'company_id']",
        "['company_id', 'tenant_id']",
        {"has_an_index_that_no_tenant_uses": "dim_leads"},
    ),
    (
        "staging/stg_campaigns.yml",
        "- name: stg_campaigns",
        "- name: stg_campaigns\n    config: {meta: {owner: null}}",
        {"has_no_owner": "stg_campaigns"},
    ),
    ("staging/stg_leads.sql", "select", "with few as (select 1)\nselect", {"is_no_plain_select": "stg_leads"}),
    ("staging/stg_users.yml", "description: Whose row it is.", "", {"leaves_a_column_unexplained": "stg_users"}),
    ("marts/crm/fct_win_rates.sql", "config(", "config(schema='elsewhere', ", {"lives_elsewhere": "fct_win_rates"}),
    (
        "marts/crm/fct_funnel.sql",
        "config(",
        "config(contract={'enforced': false}, ",
        {"promises_no_columns": "fct_funnel"},
    ),
    (
        "marts/sales/fct_refunds.sql",
        "ref('stg_order_refunds')",
        "source('read_models', 'order_refunds')",
        {"reads_a_source_past_staging": "fct_refunds", "is_read_by_nobody": "stg_order_refunds"},
    ),
    (
        "staging/stg_session_events.sql",
        "{{ events(['session_started', 'session_ended'] + var('session_activity') | list) }}",
        "select * from {{ source('event_log', 'events') }}",
        {"reads_events_past_the_pin": "stg_session_events", "waits_for_events_that_it_never_reads": "fct_sessions"},
    ),
    (
        "marts/crm/dim_companies.sql",
        "'read_models.company_profile'",
        "'read_models.companies'",
        {"is_not_told_of_what_it_reads": "dim_companies"},
    ),
    (
        "marts/sales/fct_region_months.sql",
        "'intermediate.int_region_months': '",
        "'intermediate.int_region_months': 'other_",
        {"waits_for_a_column_that_is_not_there": "fct_region_months"},
    ),
    (
        "marts/usage/fct_user_days.sql",
        "ref('int_bots')",
        "ref('stg_users')",
        {"is_shared_by_no_two_marts": "int_bots", "is_not_told_of_what_it_reads": "fct_user_days"},
    ),
    # Excepted without need and without a reason; excepted from what is no rule, and so from none.
    (
        "../seeds/rule_exceptions.csv",
        "rule,model,reason",
        "rule,model,reason\nhas_no_owner,fct_orders,",
        {"has_no_owner": "fct_orders", "is_excepted_without_reason": "fct_orders"},
    ),
    (
        "../seeds/rule_exceptions.csv",
        "is_named_otherwise",
        "is_named_badly",
        {"is_named_otherwise": "mart_status", "is_excepted_without_reason": "mart_status"},
    ),
)


def test_every_rule_finds_who_breaks_it(database_settings: Settings, tmp_path: Path) -> None:
    """In a copy of the project in which each rule is broken, it finds the models that break it and no other."""
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    expected: dict[str, set[str]] = {rule: set() for rule in RULES}
    for file, before, after, breaks in BREAKS:
        path = project / "models" / file
        text = path.read_text(encoding="utf-8")
        assert before in text, file
        path.write_text(text.replace(before, after, 1), encoding="utf-8")
        for rule, model in breaks.items():
            expected[rule].add(model)

    assert all(expected.values())
    assert broken(database_settings, project, tmp_path / "target") == expected
