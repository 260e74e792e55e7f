"""Faults of pictures, each with a strength from 0 (just visible) to 1 (ruined).

Every fault is a function `(image, strength, rng) -> image` on uint8 pictures of shape (height, width, 3).
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

Fault = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
LUMA = np.array([0.299, 0.587, 0.114])


def gaussian_blur(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Blur with a Gaussian of 0.6 to 4 pixels."""
    sigma = _between(0.6, 4.0, strength)
    return _quantise(ndimage.gaussian_filter(_float(image), (sigma, sigma, 0), mode="nearest"))


def lens_blur(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Blur with a disk of radius 1 to 7 pixels, as a lens out of focus does."""
    radius = _between(1.0, 7.0, strength)
    y, x = _grid(radius)
    return _convolve(image, np.clip(radius + 0.5 - np.hypot(x, y), 0, 1))


def motion_blur(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Blur along a line of 3 to 24 pixels in a random direction."""
    length, angle = _between(3.0, 24.0, strength), rng.uniform(0, np.pi)
    y, x = _grid(length / 2)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return _convolve(image, np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1))


def jpeg(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Compress as JPEG of quality 60 down to 4."""
    return _recode(image, "JPEG", quality=round(_between(60, 4, strength)))


def jpeg2000(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Compress as JPEG 2000 to a 12th down to a 150th of the size."""
    return _recode(image, "JPEG2000", quality_mode="rates", quality_layers=[_between(12, 150, strength)])


def fast_fading(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Compress as JPEG 2000 and lose detail in random bands, as after bit errors of a fading channel."""
    height, width, _ = image.shape
    picture, broken = jpeg2000(image, strength / 2, rng), jpeg2000(image, strength / 2 + 0.5, rng)
    for _ in range(1 + round(4 * strength)):
        top, rows = rng.integers(height), round(height * rng.uniform(0.08, 0.2))
        band = slice(top, min(top + rows, height))
        shift = round(_between(0.01, 0.06, strength) * width)
        picture[band] = np.roll(broken[band], int(rng.choice([-1, 1])) * shift, axis=1)
    return picture


def white_noise(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Add independent Gaussian noise of 2 % to 30 % of the range."""
    return _quantise(_float(image) + _between(0.02, 0.3, strength) * rng.standard_normal(image.shape))


def pink_noise(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Add noise with a 1/f spectrum, the same in all channels, of 1.5 % to 20 % of the range."""
    height, width, _ = image.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) / frequency, (height, width))
    return _quantise(_float(image) + _between(0.015, 0.2, strength) * (noise / noise.std())[..., None])


def impulse(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Set 0.1 % to 20 % of the values to black or white."""
    hit = rng.random(image.shape) < _between(0.001, 0.2, strength)
    return np.where(hit, rng.choice(np.array([0, 255], np.uint8), image.shape), image)


def color_quantization(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Reduce to 64 down to 3 colours."""
    palette = Image.fromarray(image).quantize(round(_between(64, 3, strength)), Image.Quantize.MEDIANCUT, dither=0)
    return np.asarray(palette.convert("RGB"))


def quantization(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Reduce every channel to 20 down to 3 levels."""
    steps = round(_between(20, 3, strength)) - 1
    return _quantise(np.round(_float(image) * steps) / steps)


def oversaturation(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Multiply the distance from grey by 1.3 to 6."""
    return _saturate(image, _between(1.3, 6, strength))


def desaturation(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Take away 30 % to all of the colour."""
    return _saturate(image, 1 - _between(0.3, 1, strength))


def brighten(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Expose 0.25 to 2.5 stops more; highlights burn out."""
    return _expose(image, _between(0.25, 2.5, strength))


def darken(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Expose 1.5 to 5.5 stops less; the eye forgives the first ones."""
    return _expose(image, -_between(1.5, 5.5, strength))


def contrast_loss(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Take away 15 % to 75 % of the contrast around the mean."""
    values = _float(image)
    return _quantise(values.mean() + (1 - _between(0.15, 0.75, strength)) * (values - values.mean()))


def pixelate(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Average over blocks of 1.5 to 12 pixels."""
    height, width, _ = image.shape
    block = _between(1.5, 12, strength)
    picture = Image.fromarray(image).resize((round(width / block), round(height / block)), Image.Resampling.BOX)
    return np.asarray(picture.resize((width, height), Image.Resampling.NEAREST))


def camera(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Photograph badly: blur, exposure, sensor noise and compression share a strength of up to 2."""
    blur, exposure, noise, compression = np.minimum(1, strength * rng.dirichlet([1.2, 0.7, 0.7, 0.7]) ** 0.6)
    picture = (lens_blur if rng.random() < 0.5 else motion_blur)(image, blur, rng)
    picture = _expose(picture, rng.choice([-1.2, 0.8]) * _between(0.2, 2.5, exposure))
    values = _float(picture)
    shot = _between(0.008, 0.12, noise) * (0.4 + np.sqrt(values))
    return jpeg(_quantise(values + shot * rng.standard_normal(values.shape)), compression, rng)


def _between(mild: float, severe: float, strength: float) -> float:
    """Interpolate geometrically: equal steps of strength look equally large."""
    return mild * (severe / mild) ** strength


def _float(image: np.ndarray) -> np.ndarray:
    return image / 255.0


def _quantise(values: np.ndarray) -> np.ndarray:
    return np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)


def _grid(radius: float) -> np.ndarray:
    half = int(np.ceil(radius + 0.5))
    return np.mgrid[-half : half + 1, -half : half + 1]


def _convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return _quantise(ndimage.convolve(_float(image), (kernel / kernel.sum())[..., None], mode="nearest"))


def _recode(image: np.ndarray, file_format: str, **options: object) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, file_format, **options)
    return np.array(Image.open(buffer).convert("RGB"))


def _saturate(image: np.ndarray, factor: float) -> np.ndarray:
    grey = (_float(image) @ LUMA)[..., None]
    return _quantise(grey + factor * (_float(image) - grey))


def _expose(image: np.ndarray, stops: float) -> np.ndarray:
    """Change the light before the display's gamma of 2.2."""
    return _quantise(_float(image) * 2 ** (stops / 2.2))
