"""Command line interface, one module a command group; `anomalist.cli.app` has the entry point."""
