"""One file a command. Each imports the role it runs when it runs, and holds no logic of its own."""
