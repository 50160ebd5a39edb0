"""Images and texts: captions, tokenizers, text transformers, CLIP and SigLIP. A distribution of its own."""
