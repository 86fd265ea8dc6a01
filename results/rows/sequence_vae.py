"""Sequences with one latent vector for each."""

from results.row import Reference, Row, at_most, below

BASELINES = ("marginal/nats_a_step", "recurrent/nats_a_step")

ROWS = (
    Row(
        name="sequence_vae_chords",
        title="one latent vector for a walk of chords, made up",
        experiment="sequence_vae",
        flags="--dataset chords",
        metric="sequence_vae/nats_a_step",
        unit="negative log-likelihood, nats per frame",
        baselines=(*BASELINES, "source/nats_a_step"),
        budget="2,000 batches of 32 fresh walks; recurrent is the same decoder without latents, source the entropy",
    ),
    Row(
        name="music_jsb_sequence_vae",
        title="one latent vector for a piece of JSB Chorales",
        experiment="sequence_vae",
        flags="--dataset jsb_chorales --hidden-size 200 --encoder-size 64 --latent-size 16 --dropout .5"
        " --input-dropout .2 --frame-dropout .1 --batch-size 16 --steps 500 --chapter-steps 50"
        " --importance-samples 100 --seeds 3",
        metric="sequence_vae/negative_elbo",
        unit="negative ELBO, nats per frame, first frames included",
        baselines=BASELINES,
        reference=Reference("6.93", "deep Markov model of Krishnan et al. 2017, a latent vector a frame", "F"),
        passes=(at_most("sequence_vae/negative_elbo", 6.93 + 0.3),),
        beats=below("sequence_vae/negative_elbo", 6.93),
        also=("sequence_vae/nats_a_step",),
        tier="G",
        budget="500 steps of 16 pieces, by whose end the learning rate is 0",
        explanation="one vector for a whole piece leaves the keys of a frame independent of each other given the frames"
        " before, as they are in the recurrent model beside it, and so comes no lower than that one; the published"
        " model draws a vector for each frame",
    ),
)
