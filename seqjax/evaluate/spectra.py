"""How far the mean power spectra of two sets of series are apart. On the host, in float64."""

import numpy as np
from jaxtyping import Float, Shaped

from seqjax.errors import DataError


def spectral_distances(
    generated: Float[np.ndarray, "K T D"], real: Float[np.ndarray, "N T D"]
) -> Float[np.ndarray, "D"]:
    """For each channel, how far the mean power spectrum of generated series is from that of real ones, in its power.

    The sum over frequencies of |mean power of generated - of real|, over the power of real series. Powers are about the
    mean of all real values of the channel: 1 for series that stand still there, 0 for equal spectra, whatever the
    phases. In absolute power where real series do not vary at all. Raises DataError for values that are not finite and
    shapes that differ.
    """
    check_series(real=real, generated=generated)
    centre = real.mean(axis=(0, 1), dtype=np.float64)
    wanted = power_spectrum(real, centre)
    total = wanted.sum(axis=0)
    # what is left of a constant channel about its rounded mean is no power to measure in
    varies = total > 1e-20 * np.square(real, dtype=np.float64).mean(axis=(0, 1))
    return np.abs(power_spectrum(generated, centre) - wanted).sum(axis=0) / np.where(varies, total, 1.0)


def power_spectrum(series: Float[np.ndarray, "N T D"], centre: Float[np.ndarray, "D"]) -> Float[np.ndarray, "F D"]:
    """Mean power of series about `centre` at the frequencies k / T, k from 0 to T // 2, in squared units of a feature.

    Powers sum over frequencies to the mean square of `series - centre`.
    """
    length = series.shape[1]
    power = np.square(np.abs(np.fft.rfft(series - centre, axis=1))).mean(axis=0)
    # a real series' spectrum holds every frequency twice but the lowest and, for even lengths, the highest
    twice = np.full(len(power), 2.0)
    twice[0] = 1
    if length % 2 == 0:
        twice[-1] = 1
    return power * twice[:, None] / length**2


def check_series(**series: Shaped[np.ndarray, "..."]) -> None:
    """Raises DataError unless all are [N, T, D] with one T and one D, hold a series at least, and are finite."""
    shapes = {name: list(np.shape(values)) for name, values in series.items()}
    first = next(iter(shapes.values()))
    if len(first) != 3 or 0 in first or any(shape[1:] != first[1:] or shape[0] == 0 for shape in shapes.values()):
        raise DataError(f"series of shapes {shapes}: expected [N, T, D] with one T and one D, and a series of each.")
    for name, values in series.items():
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, step, feature = bad[0]
            raise DataError(
                f"{name}: found {values[row, step, feature]} in series {row}, step {step}, feature {feature} (counted"
                f" from 0), and {len(bad) - 1} more such values; expected finite numbers."
            )
