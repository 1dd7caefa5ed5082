"""The warehouse: the dbt project as assets.

The SQL lives in `dbt_project/`. This room reads dbt's manifest (`manifest`), runs dbt (`dbt`) and shows its models and
tests to Dagster (`assets`); who of the BI tools' logins may read it is `access`. Add a model or a test in
`dbt_project/`: nothing here changes.
"""
