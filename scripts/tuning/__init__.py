"""Many short trainings, for studies of settings: learning rates (tune.py) and data sizes (data_sizes.py)."""
