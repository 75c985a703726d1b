"""What compare.py can be told."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from recipes import RECIPES, Recipe

ROWS = "a,b,c,d,e,f,g"


@dataclass(frozen=True)
class Options:
    rows: list[str]
    recipes: list[Recipe]
    sigmas: list[float]
    repeats: int
    device: str
    bf16: bool
    prepared: bool
    batch: int
    batch_b: int
    steps: int
    steps_b: int
    width_b: int
    max_delays: list[int]
    stream_steps: int
    root: Path | None
    json: Path | None
    small: bool


def parse(arguments: list[str] | None, description: str) -> Options:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--rows", default=ROWS, help="which rows, in this order")
    add("--recipes", default=",".join(RECIPES), help="for the rows a, c and e")
    add("--sigmas", default="12,5,2,0.5", help="in steps, for row a; row e takes first and last")
    add("--repeats", type=int, default=5, help="after one warm-up")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--precision", choices=("32", "bf16"), default="32", help="bf16: autocast as well, row a")
    add(
        "--plain",
        action="store_true",
        help="leave denormal numbers and freed memory as torch and the system have them, not as "
        "our command lines set them (snn_delays/loops/processor.py); slows both stacks",
    )
    add("--batch", type=int, default=128, help="samples, in the rows a, c, e, f and g")
    add("--batch-b", type=int, default=32, help="samples, in row b")
    add("--root", type=Path, help="folder with shd_train.h5 and shd_test.h5, for row f")
    add("--json", type=Path, help="where to write every single time")
    add("--small", action="store_true", help="tiny networks, to try the benchmark itself")
    given = parser.parse_args(arguments)
    rows = given.rows.split(",")
    recipes = given.recipes.split(",")
    for name, got, known in (("rows", rows, ROWS.split(",")), ("recipes", recipes, RECIPES)):
        unknown = [one for one in got if one not in known]
        if unknown:
            parser.error(f"--{name}: got {', '.join(unknown)}, expected {', '.join(known)}")
    small = given.small
    chosen = [RECIPES[name] for name in recipes]
    return Options(
        rows=rows,
        recipes=[recipe.small() for recipe in chosen] if small else chosen,
        sigmas=[float(sigma) for sigma in given.sigmas.split(",")],
        repeats=given.repeats,
        device=given.device,
        bf16=given.precision == "bf16",
        prepared=not given.plain,
        batch=min(given.batch, 4) if small else given.batch,
        batch_b=min(given.batch_b, 2) if small else given.batch_b,
        steps=12 if small else 100,
        steps_b=20 if small else 400,
        width_b=8 if small else 256,
        max_delays=[4, 9] if small else [24, 49, 99, 199, 399],
        stream_steps=20 if small else 500,
        root=given.root,
        json=given.json,
        small=small,
    )
