"""Measurements, run by hand: `python -m bench <name>`; what they gave stands in docs/performance.md."""
