"""Learn synaptic delays in spiking neural networks; deploy them as integers."""
