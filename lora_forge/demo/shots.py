"""The 23 pictures of the demo dataset, as data: caption, place, size, framing and pose.

They follow the dataset rules of the identity preset: every angle, several
expressions, portraits as well as half and full body, and no place twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from lora_forge.demo import scenes
from lora_forge.demo.character import Pose

TRIGGER = "forgelin"

FRAMINGS = {"portrait": "close portrait", "half": "half body", "full": "full body"}
TALL, SQUARE, WIDE, VERY_TALL, VERY_WIDE = (768, 1024), (896, 896), (1024, 768), (768, 1152), (1152, 768)


@dataclass(frozen=True)
class Shot:
    """``lean`` tilts the character, in degrees against the clock."""

    caption: str
    scene: scenes.Scene
    size: tuple[int, int]
    framing: str
    pose: Pose
    lean: float = 0.0

    @property
    def text(self) -> str:
        """The caption as it is written: trigger first, then what varies, never what is absent."""
        return f"{TRIGGER}, a character {self.caption}, {view_name(self.pose.yaw)}, {FRAMINGS[self.framing]}"


def view_name(yaw: float) -> str:
    """How a person would call the angle.

    >>> view_name(0), view_name(-34), view_name(78)
    ('front view', 'three-quarter view', 'profile view')
    """
    if abs(yaw) < 15:
        return "front view"
    return "three-quarter view" if abs(yaw) < 60 else "profile view"


SHOTS = (
    Shot("smiling and waving in a sunny park", scenes.PARK, TALL, "full", Pose(0, "smiling", "down", "wave")),
    Shot(
        "with a determined look at a glowing forge",
        scenes.FORGE,
        SQUARE,
        "portrait",
        Pose(36, "determined", "hip", "hold", "hammer"),
    ),
    Shot(
        "carrying a lantern along a beach at sunset",
        scenes.BEACH,
        VERY_WIDE,
        "full",
        Pose(78, "smiling", "down", "hold", "lantern"),
    ),
    Shot("laughing in falling snow below mountains", scenes.SNOW, TALL, "half", Pose(-34, "laughing", "up", "up")),
    Shot(
        "looking surprised in a city street at night",
        scenes.STREET,
        VERY_TALL,
        "full",
        Pose(30, "surprised", "down", "out"),
    ),
    Shot("thinking in an old library", scenes.LIBRARY, WIDE, "half", Pose(0, "thoughtful", "down", "chin")),
    Shot("gazing into a green forest", scenes.FOREST, SQUARE, "portrait", Pose(78, "smiling", "down", "down")),
    Shot("worried in a hot desert", scenes.DESERT, WIDE, "full", Pose(-40, "worried", "hip", "chin")),
    Shot(
        "winking with a mug in a tiled kitchen", scenes.KITCHEN, TALL, "half", Pose(26, "winking", "hip", "hold", "mug")
    ),
    Shot("sleepy on a rainy street", scenes.RAIN, VERY_TALL, "half", Pose(-26, "sleepy", "down", "down")),
    Shot("cheering under a pink planet among stars", scenes.SPACE, WIDE, "half", Pose(42, "cheering", "up", "up")),
    Shot(
        "holding a flower in a garden",
        scenes.GARDEN,
        SQUARE,
        "full",
        Pose(-24, "smiling", "hip", "hold", "flower"),
        lean=-3,
    ),
    Shot(
        "standing at a harbor by the blue sea", scenes.HARBOR, VERY_WIDE, "half", Pose(74, "determined", "down", "hip")
    ),
    Shot("astonished in a crystal cave", scenes.CAVE, TALL, "portrait", Pose(0, "surprised", "down", "down")),
    Shot(
        "laughing beside a campfire between tents",
        scenes.CAMPFIRE,
        WIDE,
        "full",
        Pose(22, "laughing", "wave", "hold", "mug"),
        lean=3,
    ),
    Shot("pointing the way to a hilltop castle", scenes.CASTLE, VERY_TALL, "full", Pose(-74, "smiling", "out", "down")),
    Shot(
        "winking with a balloon at a market",
        scenes.MARKET,
        SQUARE,
        "half",
        Pose(38, "winking", "down", "hold", "balloon"),
        lean=-2,
    ),
    Shot("reading on a rooftop at dawn", scenes.ROOFTOP, TALL, "half", Pose(-38, "thoughtful", "hip", "hold", "book")),
    Shot(
        "smiling in a bright greenhouse",
        scenes.GREENHOUSE,
        WIDE,
        "portrait",
        Pose(-30, "smiling", "down", "down"),
        lean=4,
    ),
    Shot("walking down an autumn lane", scenes.LANE, SQUARE, "full", Pose(70, "cheering", "down", "wave")),
    Shot(
        "dozing by a bedroom window in moonlight", scenes.BEDROOM, TALL, "portrait", Pose(-72, "sleepy", "down", "down")
    ),
    Shot(
        "laughing with a hammer against a plain studio wall",
        scenes.STUDIO,
        VERY_WIDE,
        "portrait",
        Pose(32, "laughing", "down", "hold", "hammer"),
    ),
    Shot(
        "ready for work in a stone workshop",
        scenes.WORKSHOP,
        VERY_TALL,
        "half",
        Pose(0, "determined", "hip", "hold", "hammer"),
    ),
)
