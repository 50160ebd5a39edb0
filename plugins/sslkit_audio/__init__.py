"""Audio: spectrograms, masks in time and frequency, masked autoencoders of sound. A distribution of its own."""
