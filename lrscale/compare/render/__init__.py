"""A comparison in every form: one file a format, and what their cells say."""
