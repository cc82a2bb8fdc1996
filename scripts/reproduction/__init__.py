"""The published comparison, repeated: what scripts/reproduce.py is made of."""
