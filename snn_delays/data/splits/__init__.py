"""What training asks of a data set: splits, and batches of recordings side by side."""
