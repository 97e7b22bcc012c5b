"""How people steer today, measured side by side: each peer in a process and an environment of its own."""
