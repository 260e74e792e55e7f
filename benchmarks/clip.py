"""Time the vision-language regressor against its plain formulation: `make bench-clip`.

Plain: all 495 prompts padded to 77 tokens and encoded in every step and for every test batch, patch logits averaged
one by one. Both sides have the real ViT-B/32 architecture and the same random weights, in float32, and every row is
measured in a process of its own.

On a CPU this project also keeps freed memory (`mimi_lightning.memory`), which would make the plain formulation faster
as well: its times are told without and with it.

The plain training step needs some 25 GB at once. So that it can be timed anywhere, its text features are encoded
beforehand, untimed, and the text pass follows in parts, with the gradients of these features: every operation of the
step runs once, and all gradients are those of the whole step. Its peak memory is extrapolated from a third and two
thirds of images and prompts, where it runs as a whole.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import open_clip
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import normalize

from mimi_lightning import vocabulary
from mimi_lightning.contracts import Judgement
from mimi_lightning.memory import keep_memory
from mimi_lightning.models import clip, prompts
from mimi_lightning.tasks import distortion_fidelity, scene_fidelity

MODEL = "ViT-B-32-quickgelu"
IMAGES, PATCHES = 48, 3
TEST_IMAGES, TEST_PATCHES = 16, 15
CHUNK = 99  # prompts whose plain gradients are computed together; their sum is that of all at once
SIDES = ("plain", "kept", "ours")  # kept: plain, in memory that is kept


class PlainRegressor(clip.CLIPRegressor):
    """The same function, written down without any of the savings."""

    def __init__(self) -> None:
        super().__init__("plain", MODEL, "none")
        self.tokens = open_clip.get_tokenizer(MODEL)(prompts.joint_prompts())

    def forward(self, patches: Tensor) -> Judgement:
        pixels = (patches.flatten(0, 1) / 255 - self.mean) / self.std
        image = normalize(self.clip.encode_image(pixels), dim=-1)
        text = normalize(self.text_features(), dim=-1)
        logits = (self.clip.logit_scale.exp() * image @ text.T).unflatten(0, patches.shape[:2]).mean(1)
        joint = logits.softmax(-1).unflatten(-1, (len(clip.QUALITIES), len(clip.SCENES), len(clip.DISTORTION_GROUPS)))
        quality = joint.sum((2, 3))
        return Judgement(
            quality @ torch.arange(1.0, 6.0), tasks={"scene": joint.sum((1, 3)), "distortion": joint.sum((1, 2))}
        )

    def text_features(self) -> Tensor:
        return self.clip.encode_text(self.tokens)


def make(side: str) -> clip.CLIPRegressor:
    torch.manual_seed(0)
    if side != "plain":
        keep_memory()
    return clip.CLIPRegressor("ours", MODEL, "none") if side == "ours" else PlainRegressor()


def timed(work: Callable[[], object], times: int) -> float:
    """Median wall-clock time in seconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def measure_text() -> dict[str, float]:
    """Both text passes in one process, on the same weights: seconds, and how far results differ."""
    regressor = make("plain")
    model, tower, tokens = regressor.clip, prompts.text_tower(regressor.clip), regressor.tokens
    pull = torch.randn(len(tokens), 512, generator=torch.Generator().manual_seed(1))
    found: dict[str, Tensor] = {}

    def forward(side: str, encode: Callable[[], Tensor]) -> None:
        with torch.no_grad():
            found[f"{side} features"] = encode()

    def train(side: str, parts: list[tuple[Callable[[], Tensor], Tensor]]) -> None:
        model.zero_grad()
        for encode, weights in parts:
            (encode() * weights).sum().backward()
        found.update({f"{side} {n}": p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})

    tree = [(lambda: regressor.prompts(tower), pull)]
    parts = zip(tokens.split(CHUNK), pull.split(CHUNK), strict=True)
    plain = [(lambda part=part: model.encode_text(part), weights) for part, weights in parts]
    result = {}
    for side in SIDES:
        if side == "kept":
            keep_memory()
        encode, work = (tree[0][0], tree) if side == "ours" else (partial(model.encode_text, tokens), plain)
        times = 5 if side == "ours" else 2
        train(side, work)  # warms up
        result[f"{side} forward"] = timed(partial(forward, side, encode), times)
        result[f"{side} train"] = timed(partial(train, side, work), times)
    gap = found["plain features"] - found["ours features"]
    names = [name for name, p in model.named_parameters() if p.grad is not None]
    relative = [(found[f"plain {n}"] - found[f"ours {n}"]).abs().max() / found[f"plain {n}"].abs().max() for n in names]
    return {**result, "features": gap.abs().max().item(), "gradients": max(relative).item(), "parameters": len(names)}


class Step:
    """A full training step: forward, three losses, backward, AdamW.

    Args:
        side: of `SIDES`.
        scenes: of the nine; a smaller joint grid of the same kind, and as many fewer images.
        whole: encode the plain text at once, not in parts.
    """

    def __init__(self, side: str, scenes: int = 9, whole: bool = False) -> None:
        clip.SCENES = prompts.SCENES = vocabulary.SCENES[:scenes]
        images = IMAGES * scenes // len(vocabulary.SCENES)
        self.regressor, self.in_parts = make(side), side != "ours" and not whole
        learning = [p for p in self.regressor.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(learning, lr=5e-6, weight_decay=1e-3, fused=side == "ours" or None)
        self.patches = torch.randint(0, 256, (images, PATCHES, 3, 224, 224), dtype=torch.uint8)
        self.shown = torch.zeros(images, scenes)
        self.distortion = torch.arange(images) % len(vocabulary.DISTORTION_GROUPS)
        self.shown[:, 0] = 1
        if self.in_parts:
            with torch.no_grad():
                self.features = self.regressor.prompts(prompts.text_tower(self.regressor.clip))
            self.regressor.text_features = self.features.requires_grad_

    def __call__(self) -> None:
        judgement = self.regressor(self.patches)
        scene = scene_fidelity(judgement.tasks["scene"], self.shown)
        distortion = distortion_fidelity(judgement.tasks["distortion"], self.distortion)
        (judgement.proxy + (scene + distortion)).mean().backward()
        if self.in_parts:
            parts = self.regressor.tokens.split(CHUNK), self.features.grad.split(CHUNK)
            for tokens, gradient in zip(*parts, strict=True):
                self.regressor.clip.encode_text(tokens).backward(gradient)
            self.features.grad = None
        self.optimizer.step()
        self.optimizer.zero_grad()


def measure_step(side: str) -> dict[str, float]:
    """A step that is not the first one."""
    step = Step(side)
    step()
    return {"seconds": timed(step, 3 if side == "ours" else 2), "memory": peak()}


def measure_memory(scenes: int) -> dict[str, float]:
    """Peak memory of a plain step as a whole, the optimiser's state included."""
    step = Step("plain", scenes, whole=True)
    step()
    step()
    return {"memory": peak()}


def measure_test(side: str) -> dict[str, float]:
    """A batch of test images, not the first one."""
    regressor = make(side).eval()
    patches = torch.randint(0, 256, (TEST_IMAGES, TEST_PATCHES, 3, 224, 224), dtype=torch.uint8)
    with torch.inference_mode():
        regressor(patches)
        return {"seconds": timed(lambda: regressor(patches), 3 if side == "ours" else 2), "memory": peak()}


def peak() -> float:
    """Peak memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def report(threads: int) -> None:
    console = Console()
    if os.getloadavg()[0] > 1:
        console.print(f"The machine is busy (load {os.getloadavg()[0]:.1f}): these times will be distorted.")
    with console.status("") as status:

        def run(job: str, side: str = "ours", scenes: int = 9) -> dict[str, float]:
            status.update(f"{job}, {side} ...")
            words = "--job", job, "--side", side, "--scenes", str(scenes), "--threads", str(threads)
            done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
            return json.loads(done.stdout.splitlines()[-1])

        text = run("text")
        step, test = ({side: run(job, side) for side in SIDES} for job in ("step", "test"))
        thirds = [run("memory", "plain", scenes)["memory"] for scenes in (3, 6)]
    rows = {
        "text, forward": [text[f"{side} forward"] for side in SIDES],
        "text, forward and backward": [text[f"{side} train"] for side in SIDES],
        f"training step, {IMAGES} images x {PATCHES} patches": [step[side]["seconds"] for side in SIDES],
        f"test batch, {TEST_IMAGES} images x {TEST_PATCHES} patches": [test[side]["seconds"] for side in SIDES],
    }
    table = Table(title=f"ViT-B/32, random weights, float32, {threads} threads: seconds")
    for column in ("", "plain", "in kept memory", "ours", "ratio", "ratio in kept memory"):
        table.add_column(column, justify="right" if column else "left")
    for name, (plain, kept, ours) in rows.items():
        ratios = f"[bold]{plain / ours:.2f}x[/bold]", f"{kept / ours:.2f}x"
        table.add_row(name, *(f"{seconds:.2f}" for seconds in (plain, kept, ours)), *ratios)
    console.print(table)
    whole, ours = 2 * thirds[1] - thirds[0], step["ours"]["memory"]
    console.print(
        f"Peak memory of the training step: plain {whole:.1f} GB (extrapolated from {thirds[0]:.1f} GB at a third and "
        f"{thirds[1]:.1f} GB at two thirds), ours {ours:.1f} GB: {ours / whole:.0%}.\n"
        f"Text features differ by {text['features']:.1e} at most, gradients of the {text['parameters']} text "
        f"parameters by {text['gradients']:.1e} of their largest."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--job", choices=("text", "step", "memory", "test"), help="measure only this and print JSON")
    parser.add_argument("--side", choices=SIDES, default="ours")
    parser.add_argument("--scenes", type=int, choices=(3, 6, 9), default=9, help="of the job memory")
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    if words.job is None:
        report(words.threads)
        return
    jobs = {
        "text": measure_text,
        "step": lambda: measure_step(words.side),
        "memory": lambda: measure_memory(words.scenes),
        "test": lambda: measure_test(words.side),
    }
    print(json.dumps(jobs[words.job]()))


if __name__ == "__main__":
    main()
