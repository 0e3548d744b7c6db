"""A price for each kind of work on a device: from a few measured networks, and from others.

  latency = f . w * (1 + noise),   w = scale * v,   v ~ N(mean, covariance)

f are a network's features, w the device's coefficients. Mean and covariance are learnt by EM on
other devices (the hierarchical linear model of Gelman et al. 2013, chapter 15), a device's own
coefficients are the posterior given its networks. Noise is Student's t, of a size of each device's
own (Lange et al. 1989): disturbed networks and devices say less. Knows no blocks, measures nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pnas_tf.errors import UserError

# Of a scale before anything of it is known: with the variance of the prior this leaves it free.
_SCALE_DEVIATION = 1.0
_LEARN_STEPS, _CONDITION_STEPS = 15, 10
# Devices' worth of independence between coefficients: few devices say little of correlations.
_INDEPENDENCE = 2.0
_FREEDOM = 4.0  # degrees of Student's t
# The noise of a device is known beforehand as well as from so many pairs of networks.
_NOISE_KNOWN = 2.0
_NOISE_START, _NOISE_ALONE = 0.03, 0.05


@dataclass(frozen=True)
class Observed:
    """Networks of one device. features: [networks, features]. latency_ms: [networks]. weight: of
    the device among others; units of one model share one. error: relative standard deviation of
    latencies that a table predicts from those of the networks themselves; 0 where they were
    measured."""

    features: np.ndarray
    latency_ms: np.ndarray
    weight: float = 1.0
    error: float = 0.0


@dataclass(frozen=True)
class Population:
    """What devices have in common. mean: [features], of v. covariance: [features, features]. noise:
    of a typical device, relative."""

    mean: np.ndarray
    covariance: np.ndarray
    noise: float

    def expected(self, features: np.ndarray) -> np.ndarray:
        """[networks]: what networks of features [networks, features] take beside each other. Raises
        UserError where that is no time."""
        found = features @ self.mean
        if not (found > 0).all():
            what, fix = "a network by a prior", "Learn the prior again: pnas learn-prior"
            raise UserError(what, expected="a time", received=f"{found.min():.3g}", fix=fix)
        return found

    def with_free_scale(self) -> np.ndarray:
        """The covariance of w / scale where the scale is known only roughly."""
        return self.covariance + _SCALE_DEVIATION**2 * np.outer(self.mean, self.mean)


@dataclass(frozen=True)
class Coefficients:
    """Of one device. mean: [features], ms a unit of each. covariance: [features, features]. noise:
    of this device, relative. freedom: degrees of it, by which the size of noise is known."""

    mean: np.ndarray
    covariance: np.ndarray
    noise: float
    freedom: float

    def predict_ms(self, features: np.ndarray) -> np.ndarray:
        """[networks] in ms for features [networks, features]."""
        return features @ self.mean

    def deviation_ms(self, features: np.ndarray) -> np.ndarray:
        """[networks]: standard deviation of what `predict_ms` expects, without noise."""
        variance = np.einsum("ni,ij,nj->n", features, self.covariance, features)
        return np.sqrt(np.maximum(variance, 0.0))

    def interval_ms(self, features: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
        """(lower, upper), [networks] each: holds a measured latency with probability `share`."""
        from scipy.stats import norm, t

        predicted, quantile = self.predict_ms(features), 0.5 + share / 2
        # Its size is itself estimated: t_v for the normal (Gelman et al. 2013, section 3.2).
        noise = self.noise * float(t.ppf(quantile, self.freedom) / norm.ppf(quantile))
        reach = t.ppf(quantile, _FREEDOM) * np.hypot(self.deviation_ms(features), noise * predicted)
        return predicted - reach, predicted + reach


@dataclass
class _State:
    """Of EM. variances: [devices]. trust: [devices, networks], of single networks."""

    mean: np.ndarray
    covariance: np.ndarray
    variances: np.ndarray
    trust: np.ndarray
    typical: float = _NOISE_START**2


def learn(devices: Sequence[Observed]) -> Population:
    """The population that several devices are draws of.

    Args:
        devices: at least two; not all need the same networks.

    Returns:
        The population. EM starts from coefficients that all share but for their scale.
    """
    unit = np.concatenate([device.features for device in devices]).mean(axis=0)
    unit = np.where(unit > 0, unit, 1.0)
    scaled = [(device.features / unit, device.latency_ms) for device in devices]
    shared = _shared_coefficients(scaled)
    size, most = len(shared), max(len(device.latency_ms) for device in devices)
    rows = np.zeros((len(devices), most, size))  # rows . v = 1 + noise; rows of zeros say nothing
    measured = np.zeros((len(devices), most))
    for number, (features, latency_ms) in enumerate(scaled):
        scale = typical_ratio(latency_ms, features @ shared)
        rows[number, : len(features)] = features * (scale / latency_ms)[:, None]
        measured[number, : len(features)] = 1
    weights = np.array([device.weight for device in devices])
    weights /= weights.sum()
    start = np.full(len(devices), _NOISE_START**2)
    now = _State(shared, np.eye(size) / size**2, start, measured.copy())
    for _ in range(_LEARN_STEPS):
        _em_step(now, rows, measured, weights)
    covariance = now.covariance / np.outer(unit, unit)
    # What no feature explains is much the same on all devices: together they fit it as one would.
    fitted = rows[int(np.argmax(measured.sum(axis=1)))]
    found = Population(now.mean, now.covariance, float(np.sqrt(now.typical)))
    unseen = unseen_to_seen(found.with_free_scale(), fitted[fitted.any(axis=1)], now.typical)
    error = float(np.median([device.error for device in devices]))
    return Population(now.mean / unit, covariance, math.hypot(found.noise * unseen**0.5, error))


def unseen_to_seen(prior: np.ndarray, rows: np.ndarray, variance: float) -> float:
    """The noise of networks that a fit has not seen, to its residuals' own: n / (n - effective
    parameters) (Hastie et al. 2009, equation 3.50).

    Args:
        prior: covariance of the coefficients, [features, features].
        rows: [networks, features] of the fit.
        variance: of noise.

    Returns:
        A ratio of variances: 1 where nothing is fitted, n / (n - rank) where all is free.
    """
    explained, count = rows @ prior @ rows.T, len(rows)
    fitted = np.trace(np.linalg.solve(explained + variance * np.eye(count), explained))
    return count / (count - float(fitted))


def _em_step(now: _State, rows: np.ndarray, measured: np.ndarray, weights: np.ndarray) -> None:
    """One expectation and one maximisation. rows: [devices, networks, features]. measured:
    [devices, networks], 1 or 0."""
    inverse = np.linalg.inv(now.covariance)
    trusted = rows * now.trust[:, :, None]
    gram, aim = np.matmul(trusted.transpose(0, 2, 1), rows), trusted.sum(axis=1)
    # Posterior of each device: V = (S^-1 + A^T U A / s^2)^-1, m = V (S^-1 mean + A^T U 1 / s^2)
    spreads = np.linalg.inv(inverse + gram / now.variances[:, None, None])
    means = np.einsum("pij,pj->pi", spreads, inverse @ now.mean + aim / now.variances[:, None])
    now.mean = weights @ means
    apart = means - now.mean
    covariance = np.einsum("p,pij->ij", weights, spreads) + (weights[:, None] * apart).T @ apart
    own, count = np.diag(np.diag(covariance)), len(rows)
    covariance = (count * covariance + _INDEPENDENCE * own) / (count + _INDEPENDENCE)
    now.covariance = covariance + 1e-10 * np.trace(covariance) * np.eye(len(now.mean))
    squares = (np.einsum("pni,pi->pn", rows, means) - 1) ** 2
    squares += (np.matmul(rows, spreads) * rows).sum(axis=2)
    squares *= measured
    now.variances = (_NOISE_KNOWN * now.typical + (now.trust * squares).sum(axis=1) / 2) / (
        _NOISE_KNOWN + measured.sum(axis=1) / 2
    )
    now.typical = 1 / float(weights @ (1 / now.variances))
    now.trust = measured * _trust(squares / now.variances[:, None])


def _trust(squares: np.ndarray) -> np.ndarray:
    """Of networks whose squared errors are so many variances: Student's t as a Gaussian of unknown
    variance (Lange et al. 1989, section 3)."""
    return (_FREEDOM + 1) / (_FREEDOM + squares)


def typical_ratio(latency_ms: np.ndarray, expected: np.ndarray) -> float:
    """The scale of a device whose networks [networks] take so long. expected: at a scale of 1."""
    return float(np.exp(np.median(np.log(latency_ms / expected))))


def _shared_coefficients(devices: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """[features]: not negative, for all devices but for a scale of each."""
    size = devices[0][0].shape[1]
    shared = np.full(size, 1.0 / size)
    for _ in range(3):
        rows = [
            features * (typical_ratio(latency_ms, features @ shared) / latency_ms)[:, None]
            for features, latency_ms in devices
        ]
        shared = _not_negative(np.concatenate(rows))
        shared += 1e-6 / size  # a kind of work that seems free may yet take time
    return shared


def condition(population: Population, features: np.ndarray, latency_ms: np.ndarray) -> Coefficients:
    """A device's coefficients given its measured networks. Raises as `Population.expected`.

    Args:
        population: what others teach.
        features: [networks, features].
        latency_ms: [networks].

    Returns:
        Mean and covariance of w: N(s mean, s^2 (covariance + mean mean^T)), conditioned on
        latencies with relative noise. s is the generalised least squares mean of log(latency /
        f . mean); noise and the trust in each network follow by EM.
    """
    prior, expected = population.with_free_scale(), population.expected(features)
    relative = features / expected[:, None]
    apart = relative @ population.covariance @ relative.T
    variance, trust = population.noise**2, np.ones(len(features))
    known = _NOISE_KNOWN * variance
    for _ in range(_CONDITION_STEPS):
        noise = np.diag(variance / trust)
        weights = np.linalg.solve(apart + noise, np.ones(len(features)))
        scale = float(np.exp(weights @ np.log(latency_ms / expected) / weights.sum()))
        rows = features * (scale / latency_ms)[:, None]
        mean, covariance = gaussian_posterior(population.mean, prior, rows, noise)
        squares = (rows @ mean - 1) ** 2 + np.einsum("ni,ij,nj->n", rows, covariance, rows)
        variance = (known + (trust * squares).sum() / 2) / (_NOISE_KNOWN + len(features) / 2)
        trust = _trust(squares / variance)
    noise, freedom = float(np.sqrt(variance)), 2 * _NOISE_KNOWN + len(features)
    return Coefficients(scale * mean, scale**2 * covariance, noise, freedom)


def gaussian_posterior(
    mean: np.ndarray, covariance: np.ndarray, rows: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(mean, covariance) of v ~ N(mean, covariance) given rows v + N(0, noise) = 1.

    mean: [features]. rows: [networks, features]. noise: [networks, networks].
    """
    gain = np.linalg.solve(rows @ covariance @ rows.T + noise, rows @ covariance).T
    left = covariance - gain @ rows @ covariance
    return mean + gain @ (1 - rows @ mean), (left + left.T) / 2


def alone(features: np.ndarray, kinds: np.ndarray) -> Population:
    """Where no other device teaches: every kind of work takes the same share, give or take all.

    features: [networks, features] of a space. kinds: [features, kinds], 1 where a feature is of a
    kind: features of one have one coefficient.
    """
    amounts = (features @ kinds).mean(axis=0)
    shares = np.where(amounts > 0, 1 / np.where(amounts > 0, amounts, 1), 0.0)
    mean = shares / max(1, int((amounts > 0).sum()))
    return Population(kinds @ mean, kinds @ np.diag(mean**2) @ kinds.T, _NOISE_ALONE)


def non_negative(features: np.ndarray, latency_ms: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """[features]: coefficients that are not negative, one for each kind, with the least squares of
    relative errors (Lawson and Hanson 1974, chapter 23). Arguments as of `alone`."""
    return kinds @ _not_negative(features @ kinds / latency_ms[:, None])


def _not_negative(rows: np.ndarray) -> np.ndarray:
    from scipy.optimize import nnls

    unit = np.where(rows.any(axis=0), np.abs(rows).mean(axis=0), 1.0)
    return nnls(rows / unit, np.ones(len(rows)))[0] / unit


def relative_line(rows: np.ndarray, latency_ms: np.ndarray) -> np.ndarray:
    """[columns]: least squares of relative errors of rows [networks, columns]."""
    scaled = rows / latency_ms[:, None]
    return np.linalg.lstsq(scaled, np.ones(len(rows)), rcond=None)[0]


def leave_one_out_percent(
    rows: np.ndarray,
    latency_ms: np.ndarray,
    fit: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> float:
    """Mean absolute error in percent of each network by a fit on the others.

    Args:
        rows: [networks, columns].
        latency_ms: [networks].
        fit: from these to coefficients [columns].
    """
    errors = []
    for number in range(len(rows)):
        rest = np.arange(len(rows)) != number
        predicted = rows[number] @ fit(rows[rest], latency_ms[rest])
        errors.append(abs(predicted / latency_ms[number] - 1))
    return 100 * float(np.mean(errors))
