"""Variational autoencoders: the log-likelihood of binary images, by importance samples."""

from results.row import Reference, Row, at_most

BURDA = "Burda, Grosse & Salakhutdinov 2016"
NATS = "negative log-likelihood, nats per test image"
MIXTURES = ("mixture/nll", "marginal/nll")
PROTOCOL = "--validation-size 400 --schedule staged --learning-rate 1e-3"
ONE_LAYER = f"--hidden 200 200 --latent-size 50 {PROTOCOL}"
TWO_LAYERS = f"--hidden 200 200 --latent-size 100 --upper-hidden 100 100 --upper-latent-size 50 {PROTOCOL}"
TEN_EPOCHS = "--steps 29800 --chapter-steps 2980 --seeds 3"
PUBLISHED_EPOCHS = 3280


def importance_row(samples: int, published: float, *, under: str = "") -> Row:
    return Row(
        name=f"iwae_mnist_k{samples}",
        title=f"bound of {samples} draw{'s' * (samples > 1)}, MNIST, one layer of latents",
        experiment="iwae",
        flags=f"--dataset mnist {ONE_LAYER} --samples {samples} {TEN_EPOCHS}",
        metric="iwae/nll",
        unit=NATS,
        baselines=MIXTURES,
        reference=Reference(f"{published} after {PUBLISHED_EPOCHS:,} epochs", BURDA, "F"),
        under=under,
        budget="the first 10 epochs of the published schedule; 1,000 importance samples",
    )


def two_layer_row(experiment: str, samples: int, published: float) -> Row:
    row = f"{experiment}2_mnist_k{samples}"
    return Row(
        name=row,
        title=f"{experiment.upper()} with two layers of latents and {samples} draw{'s' * (samples > 1)}, MNIST",
        experiment=experiment,
        flags=f"--dataset mnist {TWO_LAYERS} --samples {samples} --steps 8940 --chapter-steps 2980 --seeds 1",
        metric=f"{experiment}/nll",
        unit=NATS,
        baselines=MIXTURES,
        reference=Reference(f"{published}", BURDA, "F"),
        passes=(at_most(f"{experiment}/nll", published + 0.8),),
        tier="G",
        share=f"3 epochs of {PUBLISHED_EPOCHS:,}, 1 seed",
        budget="the first epochs of the published schedule; 1,000 importance samples",
    )


ROWS = (
    Row(
        name="vae_mnist_k1",
        title="VAE 784-200-200-50, MNIST",
        experiment="vae",
        flags=f"--dataset mnist {ONE_LAYER} --steps 342700 --chapter-steps 2980 --seeds 3",
        figures=("samples", "traversals"),
        metric="vae/nll",
        unit=NATS,
        baselines=MIXTURES,
        reference=Reference(f"86.76 after {PUBLISHED_EPOCHS:,} epochs", BURDA, "F"),
        passes=(at_most("vae/nll", 90.5),),
        budget="the first 115 epochs of the published schedule, Adam's first moment decaying by .9 as in the paper (by"
        " .99 in its code); 1,000 importance samples, whose bias is below .1 nats",
    ),
    Row(
        name="vae_fashion",
        title="VAE 784-200-200-50, Fashion-MNIST",
        experiment="vae",
        flags=f"--dataset fashion_mnist {ONE_LAYER} --steps 119200 --chapter-steps 2980 --seeds 3",
        metric="vae/nll",
        unit=NATS,
        baselines=MIXTURES,
        budget="the first 40 epochs of the same schedule; images drawn as binary ones from their intensities",
    ),
    importance_row(1, 86.76),
    importance_row(5, 85.54, under="iwae_mnist_k1"),
    importance_row(50, 84.78, under="iwae_mnist_k5"),
    two_layer_row("vae", 1, 85.33),
    two_layer_row("iwae", 5, 83.89),
    two_layer_row("iwae", 50, 82.90),
    Row(
        name="conditional_vae_mnist",
        title="VAE 784-200-200-50 told the class, MNIST",
        experiment="conditional_vae",
        flags=f"--dataset mnist {ONE_LAYER} {TEN_EPOCHS}",
        metric="conditional_vae/nll",
        unit="negative log-likelihood given the class, nats per test image",
        also=("conditional_vae/accuracy", "conditional_vae/obedience"),
        figures=("samples",),
        baselines=(
            "class_marginal/nll",
            "class_marginal/accuracy",
            "majority/accuracy",
            "real/obedience",
            "class_marginal/obedience",
        ),
        budget="the first 10 epochs of the published schedule; obedience: the share of what is drawn that a classifier"
        " trained on real images takes for the class that was asked for",
    ),
)
