"""Models of this project as scikit-learn's transformers, clusterers, outlier detectors and classifiers.

They train the same losses of the same models as the experiments do, and stand in pipelines and searches. What is
fitted are plain NumPy arrays.
"""

from seqjax.interop.estimators.autoencoder import AutoencoderTransformer
from seqjax.interop.estimators.classifier import NetworkClassifier
from seqjax.interop.estimators.clustering import DeepClustering
from seqjax.interop.estimators.outliers import DeepOutlierDetector
from seqjax.interop.estimators.sequences import SequenceTransformer
from seqjax.interop.estimators.vae import VAETransformer

__all__ = [
    "AutoencoderTransformer",
    "DeepClustering",
    "DeepOutlierDetector",
    "NetworkClassifier",
    "SequenceTransformer",
    "VAETransformer",
]
