"""Autoencoders beside principal components."""

from results.row import Reference, Row, at_least, at_most, below, within

HINTON = "Hinton & Salakhutdinov 2006"

SQUARED_ERROR = "summed squared error per test image"


def digits_row(code_size: int) -> Row:
    return Row(
        name=f"ae_digits_code{code_size}",
        title=f"64-256-128-{code_size} autoencoder, digits",
        experiment="autoencoder",
        flags=f"--dataset digits --code-size {code_size}",
        metric="autoencoder/squared_error",
        unit=SQUARED_ERROR,
        baselines=("pca/squared_error", "mean/squared_error"),
    )


DIGITS_BY_CODE_SIZE = {code_size: digits_row(code_size) for code_size in (2, 4, 8, 10, 16, 32)}


ROWS = (
    Row(
        name="pca_mnist30",
        title="PCA with 30 components, MNIST",
        experiment="autoencoder",
        # PCA comes with every autoencoder run; the short training only keeps the run's health verdict meaningful
        flags="--dataset mnist --code-size 30 --steps 500 --chapter-steps 250 --seeds 1",
        metric="pca/squared_error",
        unit=SQUARED_ERROR,
        baselines=("mean/squared_error",),
        reference=Reference("13.87", HINTON, "F"),
        passes=(within("pca/squared_error", 13.87, 0.01),),
        budget="fitted on 55,000 images, the other 5,000 being kept for validation",
    ),
    Row(
        name="ae_mnist30",
        title="784-1000-500-250-30 autoencoder without pre-training, MNIST",
        experiment="autoencoder",
        flags="--dataset mnist --hidden 1000 500 250 --code-size 30 --batch-size 256 --steps 13359"
        " --chapter-steps 267 --seeds 3",
        metric="autoencoder/squared_error",
        unit=SQUARED_ERROR,
        baselines=("pca/squared_error", "mean/squared_error"),
        reference=Reference("3.00", HINTON, "M"),
        passes=(at_most("autoencoder/squared_error", 3.15),),
        beats=below("autoencoder/squared_error", 3.00),
        budget="ELU, sigmoid output, Adam 1e-3 down to 0 by half a cosine, 62 epochs of 55,000 images",
    ),
    Row(
        name="ae_mnist32",
        title="784-32-784 autoencoder, MNIST",
        experiment="autoencoder",
        flags="--dataset mnist --hidden --code-size 32 --code-activation relu --reconstruction cross_entropy"
        " --schedule constant --batch-size 256 --steps 10743 --chapter-steps 215",
        metric="autoencoder/cross_entropy",
        unit="cross-entropy, nats per pixel",
        baselines=("pca/cross_entropy", "mean/cross_entropy"),
        reference=Reference("0.0925 to 0.094", "tutorials", "M"),
        passes=(at_most("autoencoder/cross_entropy", 0.0920),),
        budget="ReLU code, sigmoid output, Adam 1e-3, 50 epochs of 55,000 images",
    ),
    Row(
        name="linear_ae",
        title="linear autoencoder with 10 units against PCA, digits",
        experiment="linear_autoencoder",
        flags="",
        metric="linear_autoencoder/test_gap",
        unit="test error relative to PCA's, less 1",
        baselines=("pca/test_squared_error", "mean/test_squared_error"),
        reference=Reference("0", "Baldi & Hornik 1989", "theorem"),
        passes=(
            below("linear_autoencoder/test_gap", 1e-2, each_seed=True),
            at_least("linear_autoencoder/train_gap", -1e-6, each_seed=True),
        ),
    ),
    *DIGITS_BY_CODE_SIZE.values(),
)
