"""Functions that users know from NumPy, written with ops; no record is defined here."""
