"""The known answer: a linear autoencoder ends in the principal subspace (Baldi & Hornik 1989)."""

from experiments import linear_autoencoder
from seqjax.experiment import Options, run


def test_five_seeds_reach_the_principal_components_and_no_more(tmp_path):
    receipt = run(
        linear_autoencoder.Config(), linear_autoencoder.build, Options(seeds=5, devices=1, run_dir=tmp_path / "run")
    )
    metrics = receipt["metrics"]
    assert all(gap < 1e-2 for gap in metrics["linear_autoencoder/test_gap"]["per_seed"])
    assert all(-1e-6 <= gap < 1e-3 for gap in metrics["linear_autoencoder/train_gap"]["per_seed"])
    assert metrics["pca/test_squared_error"]["mean"] < metrics["mean/test_squared_error"]["mean"] / 3
