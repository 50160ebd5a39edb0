"""Built-in objectives of joint embeddings: contrast, prediction of other views, decorrelation, clustering."""
