"""A dataset folder → facts and findings, in one pass, without decoding a pixel.

Two layouts are read: images lying flat in the folder, or kohya's sub-folders
``10_name``. Whatever is wrong is told all at once; only what could be measured
is in the facts.
"""

from __future__ import annotations

from pathlib import Path

from lora_forge.datasets.captions import caption_stems, read_caption
from lora_forge.datasets.facts import DatasetFacts, ImageFacts, SubsetFacts
from lora_forge.datasets.image_size import UnreadableImage, read_image_header
from lora_forge.datasets.listing import KohyaName, Listing, list_folder, parse_kohya_name, split_name
from lora_forge.datasets.notes import Notes, counted, listed, printable
from lora_forge.datasets.strays import note_strays, note_unread
from lora_forge.findings import Finding, error, warning

_SAME_KIND = {".jpeg": ".jpg"}
_PLAIN = KohyaName(0, None)


def scan_dataset(
    root: Path, *, caption_extension: str, reg: Path | None = None, per_file: bool = False
) -> tuple[DatasetFacts, list[Finding]]:
    """Measure every image of ``root`` and of the regularization folder ``reg``; ``per_file`` is said in ``Notes``.

    Extensions count in any case: the run's own folder of links lower-cases them,
    which the engine on its own would ask for.
    """
    scan = _Scan(caption_extension, reg, Notes(per_file=per_file))
    subsets = scan.folder(root, is_reg=False)
    if reg is not None and _same(root, reg):
        message = f"The regularization folder {printable(str(reg))} is the dataset itself."
        hint = "Give another folder with --reg, or leave it out."
        scan.notes.add(error("reg-is-dataset", message, hint, printable(str(reg))))
    elif reg is not None:
        subsets += scan.folder(reg, is_reg=True)
    scan.notes.close(caption_extension)
    return DatasetFacts(root, tuple(subsets)), scan.notes.findings()


class _Scan:
    def __init__(self, caption_extension: str, reg: Path | None, notes: Notes) -> None:
        self.notes = notes
        self._extension = caption_extension
        self._reg = reg

    def folder(self, root: Path, *, is_reg: bool) -> list[SubsetFacts]:
        """The subsets of one root, flat or kohya's."""
        listing = self._list(root, is_reg)
        if listing is None:
            return []
        kohya = {name: parsed for name in listing.folders if (parsed := parse_kohya_name(name))}
        kohya = {name: parsed for name, parsed in kohya.items() if not self._is_reg_folder(root / name, is_reg)}
        self._note_ignored(listing, kohya, is_reg)
        if not kohya:
            return self._flat(listing, is_reg)
        if listing.images:
            self._note_mixed(listing, kohya)
        subsets = [self._kohya(root / name, parsed, is_reg) for name, parsed in kohya.items()]
        found = [subset for subset in subsets if subset is not None]
        if not any(subset.images for subset in found):
            self._note_empty(listing, is_reg)
        return found

    def _list(self, folder: Path, is_reg: bool) -> Listing | None:
        name, shown = "regularization" if is_reg else "dataset", printable(str(folder))
        code = "reg" if is_reg else "dataset"
        hint = "Give another folder with --reg." if is_reg else "Give another folder, or a dataset TOML."
        try:
            return list_folder(folder, self._extension)
        except FileNotFoundError:
            message = f"The {name} folder {shown} does not exist."
            self.notes.add(error(f"{code}-missing", message, hint, shown))
        except NotADirectoryError:
            message = f"{shown} is a file; the {name} must be a folder of images."
            self.notes.add(error(f"{code}-missing", message, hint, shown))
        except (OSError, ValueError) as wrong:
            reason = wrong.strerror if isinstance(wrong, OSError) and wrong.strerror else str(wrong)
            message = f"The {name} folder {shown} cannot be read: {reason}."
            self.notes.add(error(f"{code}-unreadable", message, "Check its permissions.", shown))
        return None

    def _is_reg_folder(self, folder: Path, is_reg: bool) -> bool:
        return not is_reg and self._reg is not None and _same(folder, self._reg)

    def _flat(self, listing: Listing, is_reg: bool) -> list[SubsetFacts]:
        if not listing.images:
            self._note_empty(listing, is_reg)
            return []
        return [self._subset(listing, _PLAIN, is_reg)]

    def _kohya(self, folder: Path, parsed: KohyaName, is_reg: bool) -> SubsetFacts | None:
        listing = self._list(folder, is_reg)
        if listing is None:
            return None
        self._note_ignored(listing, {}, is_reg)
        if not listing.images:
            message = f"The folder {printable(folder.name)} holds no images."
            self.notes.add(warning("subset-empty", message, "Remove it or fill it.", printable(str(folder))))
        return self._subset(listing, parsed, is_reg)

    def _subset(self, listing: Listing, parsed: KohyaName, is_reg: bool) -> SubsetFacts:
        stems: set[str] = set()
        images = []
        for name in listing.images:
            stem, _ = split_name(name)
            if stem in stems:
                self.notes.together("duplicate-stem", printable(str(listing.folder)), name)
            stems.add(stem)
            image = self._image(listing, name, stem, parsed.class_tokens)
            images += [image] if image else []
        note_strays(self.notes, listing, self._extension, stems)
        return SubsetFacts(listing.folder, parsed.repeats or None, parsed.class_tokens, is_reg, tuple(images))

    def _image(self, listing: Listing, name: str, stem: str, class_tokens: str | None) -> ImageFacts | None:
        path = f"{listing.folder}/{name}"
        try:
            header = read_image_header(path)
        except UnreadableImage as wrong:
            message = f"{printable(name)} cannot be read as an image: {wrong}."
            self.notes.each("image-unreadable", message, "Replace or remove it.", printable(path))
            return None
        ending = split_name(name)[1].lower()
        if header.kind != _SAME_KIND.get(ending, ending):
            content = header.kind or "an unusual format"
            self.notes.together("image-extension", printable(str(listing.folder)), name, content)
        caption, caption_file = self._caption(listing, name, stem, class_tokens)
        return ImageFacts(name, header.width, header.height, caption, caption_file)

    def _caption(
        self, listing: Listing, name: str, stem: str, class_tokens: str | None
    ) -> tuple[str | None, str | None]:
        stems = caption_stems(stem)
        captions = listing.captions[self._extension]
        file = next((captions[candidate] for candidate in stems if candidate in captions), None)
        if file is not None:
            return self._read_caption(listing, file), file
        if broken := next((found for each in stems if (found := listing.broken_captions.get(each))), None):
            self._note_unusable(listing, broken, "it is a broken link or no regular file")
            return None, None
        others = (found for extension, found in listing.captions.items() if extension != self._extension)
        if any(stem in found for found in others):
            self.notes.together("caption-extension", printable(str(listing.folder)), name)
        elif class_tokens is None:
            self.notes.together("caption-missing", printable(str(listing.folder)), name)
        return None, None

    def _read_caption(self, listing: Listing, file: str) -> str | None:
        path, folder = f"{listing.folder}/{file}", printable(str(listing.folder))
        read = read_caption(path)
        if read.text is None:
            self._note_unusable(listing, file, read.problem)
            return None
        if read.has_bom:
            self.notes.together("caption-bom", folder, file)
        if not read.text:
            self.notes.together("caption-blank", folder, file)
        elif read.has_more_lines:
            self.notes.together("caption-lines", folder, file)
        return read.text

    def _note_unusable(self, listing: Listing, caption: str, problem: str) -> None:
        message = f"The caption {printable(caption)} cannot be used: {problem}."
        hint = "Write one line of UTF-8 text, or delete the file."
        self.notes.each("caption-unreadable", message, hint, printable(f"{listing.folder}/{caption}"))

    def _note_ignored(self, listing: Listing, kohya: dict[str, KohyaName], is_reg: bool) -> None:
        where = printable(str(listing.folder))
        note_unread(self.notes, listing)
        others = [name for name in listing.folders if name not in kohya]
        others = [name for name in others if not self._is_reg_folder(listing.folder / name, is_reg)]
        if others:
            are = "is" if len(others) == 1 else "are"
            message = f"{counted(len(others), 'folder')} inside {are} not read: {listed(others)}."
            hint = "Move the images up, or name the folder 10_name for ten repeats."
            self.notes.add(warning("folder-ignored", message, hint, where))
        for name in listing.not_utf8:
            message = f"The name {printable(name)} is not UTF-8."
            self.notes.each("name-not-utf8", message, "Rename it.", where)
        for name in listing.broken:
            message = f"{printable(name)} is a broken link or no regular file."
            self.notes.each("image-unreadable", message, "Replace or remove it.", f"{where}/{printable(name)}")

    def _note_mixed(self, listing: Listing, kohya: dict[str, KohyaName]) -> None:
        where = printable(str(listing.folder))
        message = f"{where} holds both images ({listed(listing.images)}) and sub-folders ({listed(list(kohya))})."
        hint = "Move the images into one of the sub-folders, or the sub-folders elsewhere."
        self.notes.add(error("dataset-mixed", message, hint, where))

    def _note_empty(self, listing: Listing, is_reg: bool) -> None:
        where = printable(str(listing.folder))
        message = f"{where} holds no images (png, jpg, jpeg, webp, bmp)."
        hint = "Put images there, or give another folder."
        self.notes.add(error("reg-empty" if is_reg else "dataset-empty", message, hint, where))


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False
