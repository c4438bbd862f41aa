"""What comes back from a provider: media found and decoded, containers repaired, errors read, results compared."""
