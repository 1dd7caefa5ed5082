"""The local platform: real PostgreSQL, real Redis and Dagster's processes on this machine, from wheels alone.

Defines how these servers are made, started, found again, stopped and described, all out of one state folder ("home").
Add here what starts or stops a process on the operator's machine; connections to servers, wherever they run, belong
into `analytics_pipelines.connections`, the schema inside them into `analytics_pipelines.migrations`.
"""
