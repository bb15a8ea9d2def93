"""Every remark about a file of a dataset: how grave it is, why it hurts, what to try.

One row speaks in two voices: of one file, with its place, where a person checks
a dataset; and of many in one sentence, where a plan only mentions them.
"""

from __future__ import annotations

from typing import NamedTuple

from lora_forge.findings import Severity

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


class Remark(NamedTuple):
    """``one`` and ``hint`` may name ``{name}``, ``{detail}``, ``{extension}``; ``many`` has ``{count}``, ``{names}``.

    ``lined`` findings point at the first line of the file, the only one that is
    read. ``many`` is empty for what a plan need not say, because a run copes.
    """

    code: str
    severity: Severity
    one: str
    many: str
    hint: str = ""
    lined: bool = False


FILES = (
    Remark(
        "hidden-files",
        INFO,
        "{name} is hidden, and skipped: most likely another system's left-over.",
        "Hidden files are skipped ({count}): {names}.",
    ),
    Remark(
        "extension-case",
        INFO,
        "{name}: the engine alone looks for {detail} and finds nothing; forge's runs lower the ending.",
        "",
        "Rename it to {detail}, or let a prepared copy do it.",
    ),
    Remark(
        "image-ignored",
        WARNING,
        "{name} is a picture in a format that is never read ({detail}), so nothing is learned from it.",
        "Pictures in formats that are never read ({count}): {names}.",
        "Convert it to PNG or JPEG, or move it away.",
    ),
    Remark(
        "folder-like-image",
        WARNING,
        "{name} is a folder with an image's name: the engine alone takes it for a picture and stops.",
        "Folders named like images ({count}): {names}.",
        "Rename the folder.",
    ),
    Remark(
        "mask-image",
        WARNING,
        "{name} lies beside {detail} and looks like its mask, but is trained as a picture of its own.",
        "Masks that are trained as pictures ({count}): {names}.",
        "Move masks to another folder.",
    ),
    Remark(
        "duplicate-stem",
        WARNING,
        "{name} has the stem of another image, so both train on one caption, and their caches collide.",
        "Images that share a caption file with another ({count}): {names}.",
        "Rename them, and give each its own caption.",
    ),
    Remark(
        "image-extension",
        WARNING,
        "{name} is not what its ending says ({detail}); tools that trust the ending fail on it.",
        "Images that are not what their ending says ({count}): {names}.",
        "Rename or convert them.",
    ),
)

CAPTIONS = (
    Remark(
        "caption-lines",
        WARNING,
        "{name} has more than one line; the engine reads the first and drops the rest.",
        "Captions of several lines, of which only the first is read ({count}): {names}.",
        "Put each caption on one line.",
        lined=True,
    ),
    Remark(
        "caption-blank",
        WARNING,
        "The first line of {name} is blank, and it is the only one read: this picture trains without words.",
        "Captions whose first line is blank and which are read as empty ({count}): {names}.",
        "Move the caption to the first line.",
        lined=True,
    ),
    Remark(
        "caption-bom",
        WARNING,
        "{name} begins with a byte order mark, which the engine takes for the first letter of the first word.",
        "Captions with a byte order mark, which spoils their first word ({count}): {names}.",
        "Save them as UTF-8 without BOM.",
        lined=True,
    ),
    Remark(
        "caption-extension",
        WARNING,
        "{name} has no {extension} caption but one of another ending, which is not read.",
        "Images without a {extension} caption but with one of another ending ({count}): {names}.",
        "Captions are read from {extension} files; set captions.extension, or rename the files.",
    ),
    Remark(
        "caption-missing",
        WARNING,
        "{name} has no caption, so everything in it is learned as part of the trigger.",
        "Images without a caption ({count}): {names}.",
        "Write a {extension} file of the same name beside each.",
    ),
    Remark(
        "caption-orphan",
        WARNING,
        "{name} describes no image: it is misnamed, or its picture is gone.",
        "Caption files without an image ({count}): {names}.",
        "Give it the name of its image, or remove it.",
    ),
    Remark(
        "trigger-absent",
        WARNING,
        "{name} lacks the trigger{detail}; what it shows is bound to ordinary words instead.",
        "Captions without the trigger ({count}): {names}.",
        "Begin the caption with the trigger, spelt as given.",
        lined=True,
    ),
    Remark(
        "trigger-repeated",
        WARNING,
        "{name} says the trigger {detail} times, which gives it more weight here than elsewhere.",
        "Captions that say the trigger more than once ({count}): {names}.",
        "Once is enough.",
        lined=True,
    ),
    Remark(
        "trigger-not-leading",
        WARNING,
        "{name} does not begin with the trigger; later words weigh less, and the subject binds loosely.",
        "Captions in which the trigger does not lead ({count}): {names}.",
        "Put the trigger first: `TRIGGER, a man standing outdoors`.",
        lined=True,
    ),
    Remark(
        "class-tokens-trigger",
        WARNING,
        "The class tokens of {name} lack the trigger, and its images without captions train on them.",
        "Folders whose class tokens lack the trigger ({count}): {names}.",
        "Name the folder REPEATS_TRIGGER CLASS, or give the folder's own word with --trigger.",
    ),
    Remark(
        "class-tokens-alone",
        INFO,
        "{name}: {detail}, the folder's class tokens, so nothing tells them apart.",
        "Folders whose images without captions train on the class tokens ({count}): {names}.",
        "Write a {extension} file beside each that says what differs: forge dataset caption",
    ),
    Remark(
        "caption-identical",
        WARNING,
        "{name} says the very same as {detail}: what differs between the two pictures has no words.",
        "Captions that another image has too ({count}): {names}.",
        "Say what is particular about each picture.",
        lined=True,
    ),
    Remark(
        "caption-similar",
        WARNING,
        "{name} says nearly the same as {detail}; what all captions share is learned as part of the trigger.",
        "Captions that say nearly the same as another ({count}): {names}.",
        "Say what is particular about each picture: place, light, clothes, angle.",
        lined=True,
    ),
    Remark(
        "caption-negative",
        WARNING,
        "{name} says {detail!r}: a text encoder hears the thing, not its absence.",
        "Captions that name what is absent ({count}): {names}.",
        "Say only what can be seen.",
        lined=True,
    ),
    Remark(
        "caption-long",
        WARNING,
        "{name} comes to {detail}; the end is cut off without a word.",
        "Captions longer than the text encoder reads ({count}): {names}.",
        "Shorten it; what matters goes first.",
        lined=True,
    ),
    Remark(
        "caption-mixed",
        WARNING,
        "{name} mixes sentences and tags ({detail}); the same thing is then learned under two names.",
        "Captions that mix sentences and tags ({count}): {names}.",
        "Keep to one kind: sentences for FLUX, either for SDXL and SD 1.5.",
        lined=True,
    ),
    Remark(
        "caption-styles",
        WARNING,
        "{name} is written as {detail}, unlike most others; the same thing is then learned under two names.",
        "Captions of another kind than most ({count}): {names}.",
        "Keep to one kind throughout: tags, or sentences.",
        lined=True,
    ),
    Remark(
        "reg-trigger",
        WARNING,
        "{name} is a regularization caption with the trigger in it, so the class itself becomes the subject.",
        "Regularization captions with the trigger ({count}): {names}.",
        "Caption regularization images with the class alone: `a person`.",
        lined=True,
    ),
    Remark(
        "reg-caption",
        WARNING,
        "{name} is a regularization image of which nothing is said, so it steadies no class.",
        "Regularization images without a class caption ({count}): {names}.",
        "Caption them with the class, or name the folder 1_person.",
    ),
)

SIZES = (
    Remark(
        "image-small",
        WARNING,
        "{name}: {detail}; enlarged pictures teach softness.",
        "Images that are enlarged to fill their bucket ({count}): {names}.",
        "Use a larger original, or train at a lower resolution: --set data.resolution=512.",
    ),
    Remark(
        "image-short",
        INFO,
        "{name}: {detail}; it is not enlarged, but the subject gets fewer pixels than elsewhere.",
        "Images whose short side is below the training resolution ({count}): {names}.",
        "Use a larger original, where there is one.",
    ),
    Remark(
        "image-aspect",
        WARNING,
        "{name}: {detail}; what is cut off may be the subject.",
        "Images of which the buckets cut off much ({count}): {names}.",
        "Crop it by hand to the part that matters.",
    ),
    Remark(
        "image-narrow",
        ERROR,
        "{name}: {detail}; the engine fails on a bucket of no width.",
        "Images too narrow for any bucket ({count}): {names}.",
        "Crop it, or allow enlarging: --set data.upscale=true.",
    ),
)

PIXELS = (
    Remark(
        "image-truncated",
        ERROR,
        "{name} cannot be decoded to its end ({detail}); the engine stops on it, often after an hour of caching.",
        "Images that cannot be decoded ({count}): {names}.",
        "Copy it again from its source, or remove it.",
    ),
    Remark(
        "image-no-memory",
        WARNING,
        "{name} was not looked at: {detail}.",
        "Images that were not looked at, for lack of memory ({count}): {names}.",
        "Free some memory and look again, or scale it down: nothing beyond the training resolution is learned.",
    ),
    Remark(
        "image-huge",
        WARNING,
        "{name} has {detail}; it is not decoded here, and the engine needs gigabytes or hours for it.",
        "Images too large to be looked at ({count}): {names}.",
        "Scale it down and save it anew: nothing beyond the training resolution is learned.",
    ),
    Remark(
        "image-animated",
        WARNING,
        "{name} is animated; only its first frame is trained.",
        "Animated images, of which the first frame is trained ({count}): {names}.",
        "Save the frame that you mean as PNG or JPEG.",
    ),
    Remark(
        "image-orientation",
        WARNING,
        "{name} is stored {detail} and turned upright by an EXIF note that the engine ignores: it trains that way.",
        "Images that the engine trains turned or mirrored, as it ignores EXIF orientation ({count}): {names}.",
        "Apply the orientation to the pixels: forge dataset fix --out DIR",
    ),
    Remark(
        "image-alpha",
        WARNING,
        "{name} is transparent in {detail} of its area; the engine drops that and trains what lies beneath.",
        "Images with transparency, which the engine drops ({count}): {names}.",
        "Lay it on a background: forge dataset fix --out DIR",
    ),
    Remark(
        "image-cmyk",
        WARNING,
        "{name} is {detail}, made for print; converted without its profile, its colours shift.",
        "Images in CMYK or another print colour space ({count}): {names}.",
        "Convert it to sRGB in a picture editor, or: forge dataset fix --out DIR",
    ),
    Remark(
        "image-deep",
        WARNING,
        "{name} has {detail}.",
        "Images of more than 8 bits a channel ({count}): {names}.",
        "Convert it to 8 bits: forge dataset fix --out DIR",
    ),
    Remark(
        "image-grey",
        INFO,
        "{name} is grey; a few of them teach a subject in colour to fade.",
        "Images without colour ({count}): {names}.",
        "Say so in the caption (`black and white photo`), or use the colour original.",
    ),
    Remark(
        "image-palette",
        INFO,
        "{name} holds {detail} colours at most; banding and dither are learned too.",
        "Images with a palette of few colours ({count}): {names}.",
        "Use the original in full colour.",
    ),
    Remark(
        "image-blurred",
        WARNING,
        "{name} is blurred (sharpness {detail}); softness is the first thing a LoRA learns.",
        "Images that are blurred ({count}): {names}.",
        "Use a sharper one.",
    ),
    Remark(
        "image-dark",
        WARNING,
        "{name} is underexposed: {detail} of its middle is black, with nothing in it to learn.",
        "Images that are underexposed ({count}): {names}.",
        "Brighten it from the original, or leave it out.",
    ),
    Remark(
        "image-bright",
        WARNING,
        "{name} is overexposed: {detail} of its middle is burnt out, with nothing in it to learn.",
        "Images that are overexposed ({count}): {names}.",
        "Recover it from the original, or leave it out.",
    ),
    Remark(
        "image-duplicate",
        WARNING,
        "{name} is a copy of {detail}; it counts double and pulls every result towards that picture.",
        "Images that are copies of another ({count}): {names}.",
        "Remove one of them; repeats are the way to weigh pictures.",
    ),
    Remark(
        "image-near-duplicate",
        WARNING,
        "{name} looks the same as {detail}; it counts double and pulls every result towards that picture.",
        "Images that look the same as another ({count}): {names}.",
        "Keep the better one.",
    ),
)

REMARKS: dict[str, Remark] = {remark.code: remark for remark in (*FILES, *CAPTIONS, *SIZES, *PIXELS)}
"""In the order in which they are said."""
