"""fal as a backend of anymedia: its queue, its files, and the models that it lists with their schemas."""
