"""Seeded sessions over seeded links, in virtual time: `python -m tests.sim --seeds 10000`, or `--seed N` for one."""
