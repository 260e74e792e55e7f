"""The published words: quality grades, scenes and distortions of the LIQE and MIMI-CLIP lists."""

QUALITIES = ("bad", "poor", "fair", "good", "perfect")

SCENES = ("animal", "cityscape", "human", "indoor", "landscape", "night", "plant", "still_life", "others")

# Groups of distortions, in the published order, and the fine labels of the annotations table that belong to each.
FINE_DISTORTIONS = {
    "jpeg2000 compression": ("jpeg2000 compression", "fastfading"),
    "jpeg compression": ("jpeg compression",),
    "noise": (
        "white noise",
        "fnoise",
        "white with color",
        "impulse",
        "multiplicative",
        "white noise with denoise",
        "realistic noise",
    ),
    "blur": ("gaussian blur", "lens", "motion", "shifting", "realistic blur"),
    "color": ("diffusion", "oversaturation", "desaturation"),
    "contrast": ("contrast", "sharpness", "realistic contrast change"),
    "overexposure": ("brighten", "overexposure"),
    "underexposure": ("darken", "underexposure"),
    "spatial": ("jitter", "noneccentricity patch", "pixelate", "color blocking"),
    "quantization": ("color quantization", "quantization"),
    "other": ("shifting the mean", "other realistic"),
}
DISTORTION_GROUPS = tuple(FINE_DISTORTIONS)
GROUP_OF = {fine: group for group, members in FINE_DISTORTIONS.items() for fine in members}
