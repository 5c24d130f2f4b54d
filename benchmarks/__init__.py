"""What a class map costs, side by side with the other libraries: ``python -m benchmarks``."""
