"""Functions that users know from NumPy, written in terms of ops; no record is defined here."""
