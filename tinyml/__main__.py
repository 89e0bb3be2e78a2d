"""`python -m tinyml` is the command `tinyml`."""

from tinyml.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
