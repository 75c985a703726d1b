"""Work of training that recurs, recorded once and issued to a GPU as one: CUDA graphs."""
