"""Long texts as passages: what a text is made of, and how that is packed."""
