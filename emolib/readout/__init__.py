"""What can be read out of activations, beside what the surface of the texts already tells."""
