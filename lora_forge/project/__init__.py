"""What a person asked for: flags, environment, forge.yaml and the user's own file."""
