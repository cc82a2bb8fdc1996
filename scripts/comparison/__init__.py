"""What scripts/compare_methods.py and scripts/compare_bases.py are made of."""
