"""What runs a model: generation, extraction, likelihoods, and the plan of who shares a batch."""
