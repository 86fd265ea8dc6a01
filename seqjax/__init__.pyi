"""What `__init__.py` imports when it is asked, for type checkers and editors, which cannot ask."""

from seqjax.adversarial_losses import gradient_penalty as gradient_penalty
from seqjax.bounds import evidence_lower_bound as evidence_lower_bound
from seqjax.bounds import free_bits as free_bits
from seqjax.bounds import importance_weighted_bound as importance_weighted_bound
from seqjax.data.batches import batch_at as batch_at
from seqjax.densities import gaussian_negative_log_likelihood as gaussian_negative_log_likelihood
from seqjax.densities import kl_to_standard_normal as kl_to_standard_normal
from seqjax.evaluate.anomaly import auroc as auroc
from seqjax.evaluate.cluster_scores import clustering_scores as clustering_scores
from seqjax.evaluate.cluster_scores import silhouette as silhouette
from seqjax.evaluate.likelihood import bits_per_dimension as bits_per_dimension
from seqjax.experiment import load as load
from seqjax.interop.export import exported as exported
from seqjax.interop.export import named_weights as named_weights
from seqjax.interop.export import read_export as read_export
from seqjax.interop.export import streaming as streaming
from seqjax.interop.export import write_export as write_export
from seqjax.interop.recurrent import from_pytorch as from_pytorch
from seqjax.interop.recurrent import to_pytorch as to_pytorch
from seqjax.losses import bernoulli_cross_entropy as bernoulli_cross_entropy
from seqjax.losses import categorical_cross_entropy as categorical_cross_entropy
from seqjax.losses import contractive_penalty as contractive_penalty
from seqjax.losses import squared_error as squared_error
from seqjax.models.autoencoder import Autoencoder as Autoencoder
from seqjax.models.gan import Critic as Critic
from seqjax.models.gan import Generator as Generator
from seqjax.models.recurrent import RNN as RNN
from seqjax.models.sequence import SequenceModel as SequenceModel
from seqjax.models.vae import VAE as VAE
from seqjax.recurrent import elman as elman
from seqjax.recurrent import gru as gru
from seqjax.recurrent import lstm as lstm
from seqjax.recurrent import output_head as output_head
from seqjax.recurrent import sweep as sweep
from seqjax.recurrent import unroll as unroll
from seqjax.train import Aux as Aux
from seqjax.train import Player as Player
from seqjax.train import adversarial as adversarial
from seqjax.train import make_train_step as make_train_step
from seqjax.train import minimise as minimise
from seqjax.types import Split as Split

__version__: str
PUBLIC: dict[str, tuple[str, ...]]
MODULE_OF: dict[str, str]
__all__ = [
    "RNN",
    "VAE",
    "Autoencoder",
    "Aux",
    "Critic",
    "Generator",
    "Player",
    "SequenceModel",
    "Split",
    "adversarial",
    "auroc",
    "batch_at",
    "bernoulli_cross_entropy",
    "bits_per_dimension",
    "categorical_cross_entropy",
    "clustering_scores",
    "contractive_penalty",
    "elman",
    "evidence_lower_bound",
    "exported",
    "free_bits",
    "from_pytorch",
    "gaussian_negative_log_likelihood",
    "gradient_penalty",
    "gru",
    "importance_weighted_bound",
    "kl_to_standard_normal",
    "load",
    "lstm",
    "make_train_step",
    "minimise",
    "named_weights",
    "output_head",
    "read_export",
    "silhouette",
    "squared_error",
    "streaming",
    "sweep",
    "to_pytorch",
    "unroll",
    "write_export",
]
