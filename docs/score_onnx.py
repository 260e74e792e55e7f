"""Score a folder of pictures with an exported file: python score_onnx.py best.onnx FOLDER.

Needs onnxruntime, numpy and Pillow; neither PyTorch nor MIMI Lightning.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def view(path, side):
    """See a picture as the model does, uint8 [1, 3, height, width]: the short side is shrunk to `side` pixels."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    width, height = image.size
    if min(width, height) > side:
        size = (side, int(side * height / width)) if width < height else (int(side * width / height), side)
        # Columns first, then rows: Pillow alone chooses the order by shape, which rounds differently.
        image = image.resize((size[0], height), Image.BILINEAR).resize(size, Image.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)[None]


session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
side = json.loads(session.get_modelmeta().custom_metadata_map["view"])["resize"]
names = [output.name for output in session.get_outputs()]
print("picture", *names, sep=",")
for path in sorted(Path(sys.argv[2]).iterdir()):
    if path.suffix.lower() in Image.registered_extensions():
        scores = session.run(None, {"image": view(path, side)})
        print(path.name, *(f"{score[0]:.6g}" for score in scores), sep=",")
