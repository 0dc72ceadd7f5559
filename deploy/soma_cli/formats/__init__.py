"""The shapes in which memories come from outside and go back."""
