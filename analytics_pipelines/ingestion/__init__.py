"""Ingestion: from outside into the log.

`files.py` reads files of CloudEvents, `landing.py` a folder of them, `grocer.py` and `simulator/` are the demo's
sources. All of them append through `EventStore`, so sending twice changes nothing.
"""
