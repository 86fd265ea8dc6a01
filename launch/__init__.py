"""Starting experiments where they shall run, and seeing how far they are."""
