"""Text, character by character."""

from results.row import Reference, Row, at_most, below

ROWS = (
    Row(
        name="shakespeare",
        title="next character of tiny Shakespeare, gru",
        experiment="character_model",
        flags="--dataset tiny_shakespeare --cell gru --hidden-size 288 --batch-size 16 --steps 4900 --chapter-steps 490"
        " --learning-rate 4e-3",
        metric="gru/nats_a_character",
        unit="negative log-likelihood, nats per character",
        baselines=("unigram/nats_a_character", "ngram/nats_a_character", "lzma/nats_a_character"),
        reference=Reference("1.548", "minGRU, Feng et al. 2024", "M"),
        passes=(at_most("gru/nats_a_character", 1.70),),
        beats=below("gru/nats_a_character", 1.548),
        budget="5 epochs of the first 90 % of the text; chosen on the next 5 %, measured on the last",
    ),
)
