"""Adversarial networks of perceptrons on images, measured on the features of a classifier trained here."""

from results.row import Row

BASELINES = ("real/frechet_distance", "train/frechet_distance", "gaussian/frechet_distance", "pixels/frechet_distance")


def images_row(name: str, title: str, flags: str, budget: str) -> Row:
    return Row(
        name=f"gan_{name}",
        title=title,
        experiment="gan",
        flags=flags,
        metric="gan/frechet_distance",
        also=("gan/kernel_distance", "gan/precision", "gan/recall"),
        figures=("samples",) if name == "mnist" else (),
        unit="Frechet distance on the features of a small classifier",
        baselines=BASELINES,
        budget=f"{budget}; real is the other half of the test split, the floor",
    )


PERCEPTRONS = "one hidden layer of 128 each, 8,000 batches of 64"
CRITIC_FIRST = "five updates of the critic a step, 3,000 steps"

ROWS = (
    images_row("digits", "non-saturating GAN, digits", "--dataset digits", PERCEPTRONS),
    images_row(
        "digits_hinge",
        "GAN with hinge loss and spectral normalisation, digits",
        "--dataset digits --objective hinge --spectral-norm",
        PERCEPTRONS,
    ),
    images_row(
        "digits_gradient_penalty",
        "Wasserstein GAN with gradient penalty, digits",
        "--dataset digits --objective wasserstein --penalty gradient --penalty-weight 10 --critic-steps 5 --steps 3000",
        CRITIC_FIRST,
    ),
    images_row(
        "digits_conditional",
        "non-saturating GAN told the class, digits",
        "--dataset digits --condition projection",
        PERCEPTRONS,
    ),
    images_row(
        "mnist",
        "non-saturating GAN 100-128-784 and 784-128-1, MNIST",
        "--dataset mnist --latent-size 100 --steps 10000 --seeds 3",
        "10,000 batches of 64",
    ),
)
