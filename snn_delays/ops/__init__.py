"""How a delay convolution is computed. No parameters, no modules: tensors in, tensors out."""
