"""All rows of the results table, a file for each family of experiments."""

from results.row import Row
from results.rows import (
    anomaly,
    autoencoders,
    characters,
    deep_clustering,
    forecasts,
    generated_images,
    likelihoods,
    long_lags,
    mixtures,
    multitask,
    music,
    pca_features,
    pixels,
    recurrent_gan,
    sequence_autoencoder,
    sequence_clustering,
    sequence_vae,
)

ROWS: tuple[Row, ...] = (
    *autoencoders.ROWS,
    *long_lags.ROWS,
    *pixels.ROWS,
    *music.ROWS,
    *characters.ROWS,
    *forecasts.ROWS,
    *likelihoods.ROWS,
    *generated_images.ROWS,
    *mixtures.ROWS,
    *sequence_vae.ROWS,
    *recurrent_gan.ROWS,
    *deep_clustering.ROWS,
    *multitask.ROWS,
    *sequence_autoencoder.ROWS,
    *sequence_clustering.ROWS,
    *pca_features.ROWS,
    *anomaly.ROWS,
)
