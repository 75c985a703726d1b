"""How fast each place of the basilar membrane moves at each frequency: the hydrodynamic model.

A shallow-water model of the cochlea. At place x (cm from the oval window) the membrane has
stiffness S, resistance R and mass m per area; ξ is its impedance times iω, g the local wave number:

    S(x) = C₀ e^(−αx) − a            R(x) = δ √(C₀m) e^(−αx/2)
    ξ = S − mω² − iωR                g = ω √(ρ / (hξ))
    G(x) = 2g(0)/α + ∫₀ˣ g dx′       p = √(G/g) H₀⁽¹⁾(G)
    ζ = (2ω/α) √(2/(hC₀))            z = √(2C₀/h) (iJ₀(ζ) + Y₀(ζ)) / (J₁(ζ) − iY₁(ζ))
    v = (2ω/ξ) z p(x)/p(0)

Reference:
    Sieroka, Dosch, Rupp, "Semirealistic models of the cochlea" (2006, J. Acoust. Soc. Am. 120),
    with the parameters of Cramer et al.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex128, Float
from scipy import special

STIFFNESS = 1e9  # C₀, g / (s² cm²)
STIFFNESS_OFFSET = 3500.0  # a, g / (s² cm²)
DECAY = 3.0  # α, 1 / cm
DAMPING = 0.15  # δ
MASS = 0.05  # m, g / cm²
HEIGHT = 0.1  # h, of the fluid, cm
DENSITY = 1.0  # ρ, g / cm³
LENGTH = 3.5  # of the membrane, cm


def places(channels: int) -> Float[np.ndarray, " channels"]:
    """Where the channels sit, in cm from the oval window: high frequencies first."""
    return np.linspace(0.0, LENGTH, channels)


def membrane_velocity(
    place: Float[np.ndarray, " channels"], frequency: Float[np.ndarray, " bins"]
) -> Complex128[np.ndarray, "channels bins"]:
    """v for each place (cm) and frequency (Hz, > 0), per unit of sound pressure.

    Time runs as e^(−iωt) in these equations. See :mod:`snn_delays.cochlea.filters` for what that
    means for a signal.
    """
    x, omega = place[:, None], 2 * np.pi * frequency
    pressure = _pressure(x, omega) / _pressure(np.zeros((1, 1)), omega)
    return 2 * omega / _xi(x, omega) * _z(omega) * pressure


def wave_number(x: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """g; 1 / cm."""
    return omega * np.sqrt(DENSITY / (HEIGHT * _xi(x, omega)))


def phase_integral(x: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """G in closed form, so that it does not depend on how many places there are.

    With u = e^(−αx′/2) the integrand becomes 1 / (u √(C₀u² − iωR₀u + c)), c = −(a + mω²), whose
    antiderivative is −ln((2c − iωR₀u + 2√c √(C₀u² − iωR₀u + c)) / u) / √c. The logarithm's
    argument stays clear of the negative real axis between both ends.
    """
    c = -(STIFFNESS_OFFSET + MASS * omega**2)
    root = 1j * np.sqrt(-c)

    def argument(u: np.ndarray) -> np.ndarray:
        xi = STIFFNESS * u**2 - 1j * omega * _RESISTANCE * u + c
        return (2 * c - 1j * omega * _RESISTANCE * u + 2 * root * np.sqrt(xi)) / u

    u = np.exp(-DECAY * x / 2)
    logarithm = np.log(argument(u) / argument(np.ones_like(u)))
    integral = 2 * omega / DECAY * np.sqrt(DENSITY / HEIGHT) / root * logarithm
    return 2 * wave_number(np.zeros_like(u), omega) / DECAY + integral


_RESISTANCE = DAMPING * np.sqrt(STIFFNESS * MASS)


def _xi(x: np.ndarray, omega: np.ndarray) -> np.ndarray:
    stiffness = STIFFNESS * np.exp(-DECAY * x) - STIFFNESS_OFFSET
    return stiffness - MASS * omega**2 - 1j * omega * _RESISTANCE * np.exp(-DECAY * x / 2)


def _pressure(x: np.ndarray, omega: np.ndarray) -> np.ndarray:
    phase = phase_integral(x, omega)
    return np.sqrt(phase / wave_number(x, omega)) * special.hankel1(0, phase)


def _z(omega: np.ndarray) -> np.ndarray:
    zeta = 2 * omega / DECAY * np.sqrt(2 / (HEIGHT * STIFFNESS))
    return (
        np.sqrt(2 * STIFFNESS / HEIGHT)
        * (1j * special.j0(zeta) + special.y0(zeta))
        / (special.j1(zeta) - 1j * special.y1(zeta))
    )
