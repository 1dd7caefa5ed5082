"""Automation: jobs and schedules that belong to no single room, and building the lineage from the command line."""
