"""What the API answers: the models that it describes itself with, and that its clients read."""
