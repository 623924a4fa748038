"""Benchmarks and load tests: viewers that speak the wire, and what they measure."""
