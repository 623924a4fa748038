"""What every process needs of the machine: configuration, clocks, entropy, telemetry, the command line."""
