"""Measurements, each against its baseline in the same run: `make bench`, or `python -m benchmarks NAME`, as `log.read`.

These machines are shared: a ratio or a median says something, one absolute time does not.
"""
