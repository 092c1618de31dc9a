"""The command line: `app` reads it, the modules named like commands do what it asks."""
