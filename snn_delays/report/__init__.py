"""A run's, a deployment's and a data set's numbers and pictures."""
