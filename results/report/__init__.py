"""One HTML file that needs nothing beside it: the committed results, or runs next to each other."""
