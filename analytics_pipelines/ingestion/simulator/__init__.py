"""The seeded simulator of the tenant `saas`: a made-up year of events whose truth is known.

Defines the size of the demo. `simulate` yields the events, `truth` tells what is in them. `world` says who exists and
what happens, `payloads` how an event reads, `delivery` how it reaches us.
"""

from __future__ import annotations

from analytics_pipelines.ingestion.simulator.delivery import Truth, simulate, truth

__all__ = ["DEMO_EVENTS", "DEMO_SEED", "Truth", "simulate", "truth"]

DEMO_EVENTS = 100_000
DEMO_SEED = 1
