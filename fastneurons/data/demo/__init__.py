"""The demo's model and data set, which come with Python packages."""
