"""Weights: find, download, verify, load and save them."""
