"""Adapter files: our layout, that of Hugging Face's peft, and export."""
