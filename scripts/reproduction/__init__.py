"""Repeat the published comparison: its rows as settings, the golden values, the report."""
