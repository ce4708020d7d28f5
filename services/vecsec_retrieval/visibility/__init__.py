"""Which rows a grant sees: residuals over classes of labels, as masks over rows."""
