"""What the commands of the Makefile run; each module says so itself: python -m tools.NAME."""
