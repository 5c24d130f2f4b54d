"""`python -m zerocam` is the command `zerocam`: see `zerocam.cli`."""

from zerocam.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
