"""`python -m edge`: run one POP."""

from __future__ import annotations

import sys

from core.errors import ConfigError, FabricError
from core.fabric.config import FabricConfig
from core.host.cli import EXIT_MISTAKE, Parser
from core.host.config import add_config_arguments, load_config, overrides_from
from core.host.telemetry import configure_logging
from edge.config import EdgeConfig


def main() -> int:
    """Run one POP until it is told to stop. Returns: the exit code."""
    parser = Parser(prog="python -m edge", description="One POP: the page, signalling and media of its viewers.")
    add_config_arguments(parser, EdgeConfig, "edge")
    options = parser.parse_args()
    try:
        overrides = overrides_from(options)
        config = load_config(EdgeConfig, section="edge", path=options.config, overrides=overrides)
        fabric = load_config(FabricConfig, section="fabric", path=options.config, overrides=overrides)
        configure_logging("edge", style="json" if config.log_format == "json" else "logfmt")
        import uvloop

        if config.processes != 1:
            from edge.processes import run_processes

            return uvloop.run(run_processes(config, sys.argv[1:]))

        from edge.pop import run_pop

        uvloop.run(run_pop(config, fabric))
    except ConfigError as error:
        sys.stderr.write(f"visavis: {error}\n")
        return EXIT_MISTAKE
    except FabricError as error:
        where = f"no origin hosts the fabric at {config.fabric} ({error.code}); start it first"
        sys.stderr.write(f"visavis: {error if fabric.bus == fabric.store == 'nats' else where}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
