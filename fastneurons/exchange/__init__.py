"""Files of other projects about language neurons, read and written: counts and masks in the formats of LAPE's code."""
