"""The report as a page for the browser: one self-contained file, or a folder for runs that are too large for one."""
