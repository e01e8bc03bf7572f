"""Write sample pictures into data/images: simple shapes on coloured grounds, in PNG, JPEG and WebP, the same each time.

Also data/prompts.jsonl: what a text-to-image model could be asked for, with the columns id, subject, prompt.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw

FOLDER: Final = Path("data/images")
PROMPTS: Final = Path("data/prompts.jsonl")
SIZE: Final = (640, 480)
FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}
SUBJECTS: Final = (
    "a lighthouse on a rocky coast at dusk",
    "a bowl of lemons on a wooden table",
    "a red bicycle leaning against a brick wall",
    "a snowy owl on a birch branch",
    "a steam locomotive crossing a stone viaduct",
    "an old library with spiral stairs",
    "a market stall with autumn vegetables",
    "a paper boat in a rain puddle",
)
STYLES: Final = ("watercolour", "photograph, 35 mm, soft light", "linocut in two colours")


def sun_over_hills(pen: ImageDraw.ImageDraw, chance: random.Random) -> None:
    """A sun and three hills."""
    pen.ellipse((430, 40, 530, 140), fill=(250, 200, 60))
    for x in (-100, 150, 380):
        pen.ellipse((x, 300, x + 420, 640), fill=(60 + chance.randrange(40), 140, 70))


def houses(pen: ImageDraw.ImageDraw, chance: random.Random) -> None:
    """A row of houses."""
    for x in range(40, 600, 140):
        pen.rectangle((x, 260, x + 110, 420), fill=colour(chance, 120))
        pen.polygon([(x - 10, 260), (x + 55, 190), (x + 120, 260)], fill=(150, 60, 50))
        pen.rectangle((x + 45, 350, x + 70, 420), fill=(70, 50, 40))


def balloons(pen: ImageDraw.ImageDraw, chance: random.Random) -> None:
    """Nine balloons on strings."""
    for _ in range(9):
        x, y = chance.randrange(60, 580), chance.randrange(60, 340)
        pen.line((x, y + 40, x + chance.randrange(-10, 10), y + 130), fill=(90, 90, 90), width=2)
        pen.ellipse((x - 32, y - 40, x + 32, y + 40), fill=colour(chance, 80))


def boat(pen: ImageDraw.ImageDraw, chance: random.Random) -> None:
    """A sailing boat on the sea."""
    pen.rectangle((0, 320, 640, 480), fill=colour(chance, 40))
    pen.polygon([(200, 310), (440, 310), (400, 370), (240, 370)], fill=(120, 70, 40))
    pen.polygon([(310, 110), (310, 300), (430, 300)], fill=(245, 245, 235))


def starry_night(pen: ImageDraw.ImageDraw, chance: random.Random) -> None:
    """Stars and a moon."""
    pen.rectangle((0, 0, 640, 480), fill=(12, 16, 48))
    for _ in range(160):
        x, y = chance.randrange(640), chance.randrange(480)
        pen.ellipse((x, y, x + 3, y + 3), fill=(255, 255, 220))
    pen.ellipse((470, 60, 550, 140), fill=(240, 240, 220))


def traffic_light(pen: ImageDraw.ImageDraw, chance: random.Random) -> None:
    """A traffic light on red."""
    pen.rectangle((270, 60, 370, 360), fill=(40, 40, 40))
    pen.rectangle((310, 360, 330, 480), fill=colour(chance, 60))
    for y, lamp in ((75, (220, 50, 40)), (170, (90, 80, 30)), (265, (30, 80, 40))):
        pen.ellipse((280, y, 360, y + 80), fill=lamp)


def colour(chance: random.Random, least: int) -> tuple[int, int, int]:
    """Some colour."""
    return chance.randrange(least, least + 110), chance.randrange(least, least + 110), chance.randrange(least, 230)


SCENES: Final[tuple[Callable[[ImageDraw.ImageDraw, random.Random], None], ...]] = (
    sun_over_hills,
    houses,
    balloons,
    boat,
    starry_night,
    traffic_light,
)


def draw(scene: Callable[[ImageDraw.ImageDraw, random.Random], None], target: Path) -> None:
    """Draw a scene on a sky."""
    slope = Image.linear_gradient("L").resize(SIZE)
    canvas = Image.composite(Image.new("RGB", SIZE, (235, 240, 250)), Image.new("RGB", SIZE, (120, 180, 235)), slope)
    scene(ImageDraw.Draw(canvas), random.Random(scene.__name__))  # noqa: S311 - the same pictures each time
    partial = target.with_suffix(".tmp")
    canvas.save(partial, FORMATS[target.suffix])
    partial.replace(target)


def main() -> None:
    """Write pictures and prompts."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for scene, suffix in zip(SCENES, itertools.cycle(FORMATS), strict=False):
        draw(scene, FOLDER / f"{scene.__name__.replace('_', '-')}{suffix}")
    partial = PROMPTS.with_suffix(".tmp")
    with partial.open("w", encoding="utf-8") as file:
        for number, subject in enumerate(SUBJECTS):
            prompt = f"{subject}, {STYLES[number % len(STYLES)]}"
            file.write(json.dumps({"id": f"picture-{number:02}", "subject": subject, "prompt": prompt}) + "\n")
    partial.replace(PROMPTS)


if __name__ == "__main__":
    main()
