"""Using a trained mix: what a model says of pictures, and what its scores mean."""
