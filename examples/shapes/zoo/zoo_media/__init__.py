"""Zoo for anymedia."""
