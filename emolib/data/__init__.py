"""Texts with labels, the word lists, and the containers that activations come in."""
