"""Benchmarks, one module each; see `loadtests.bench.harness`."""
