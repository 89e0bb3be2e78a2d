"""`python -m tinyml` is the command `tinyml`."""

from tinyml.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
