"""Collect pictures that teach and test what is a brain MRI and what is not. A developer's tool, not the product's.

A classifier that has seen nothing but brain MRI calls a cat a tumour. It takes pictures of other things to teach it to
refuse, and healthy heads from other scanners to see whether it knows one. Both lie in packages that registries keep for
years: documentation with screenshots, viewers with a sample volume, libraries with test images. This downloads the
archives named in `pictures/table.py` and `pictures/everyday.py`, checks each against its SHA-256, and writes

    FOLDER/pictures/KIND/SOURCE__NAME.png
    FOLDER/healthy/VOLUME/SEQUENCE_VIEW_INDEX.png (and healthy_stripped/, tumour/ likewise)
    FOLDER/SOURCES.tsv
    FOLDER/pictures.csv (what teaches and what judges, for `edgebrain train --splits`)

The same archives give the same files. It needs apt-get (of Debian 12), dpkg-deb, npm and pip as commands, and nibabel,
pydicom, pypdfium2, tifffile, imagecodecs and versioneer as modules (the last, because pip builds the metadata of a
source archive before it keeps it). The pictures stay under the licences that SOURCES.tsv names: do not
pass them on.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import cv2
from pictures.everyday import EVERYDAY
from pictures.manifest import write_manifest
from pictures.reading import fingerprint, pictures_of, spread
from pictures.table import HEADS, MEDICAL, Package, Registry
from pictures.volumes import Picture, slices_of

KIND_LIMIT = 250
"""Most pictures of one kind."""
MODULES = ("nibabel", "pydicom", "pypdfium2", "tifffile", "imagecodecs", "versioneer")
COMMANDS = ("apt-get", "dpkg-deb", "npm", "pip")
PIP_TARGET = ("--python-version", "3.11", *(f"--platform=manylinux_2_{minor}_x86_64" for minor in (17, 24, 27, 28)))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the pictures go")
    parser.add_argument("--archives", type=Path, metavar="FOLDER", help="where archives are kept (FOLDER/archives)")
    parser.add_argument("--only", action="append", metavar="PACKAGE", help="only this package; may be repeated")
    return parser.parse_args()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _command(package: Package) -> list[str]:
    """The command that downloads a package into the folder it runs in."""
    pinned = f"{package.name}=={package.version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    match package.registry:
        case Registry.DEBIAN:
            return ["apt-get", "download", "--quiet", f"{package.name}={package.version}"]
        case Registry.NPM:
            return ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
        case Registry.PYPI:
            return [*pip, "--only-binary=:all:", *PIP_TARGET, pinned]
        case Registry.PYPI_SOURCE:
            return [*pip, "--no-build-isolation", "--no-binary", package.name, pinned]


def archive_of(package: Package, folder: Path) -> Path:
    """Find a package's archive among those kept, or download it.

    Args:
        package: What to download.
        folder: Where archives are kept, each under its SHA-256.

    Returns:
        The archive, which is what the table says it is.

    Raises:
        ValueError: The registry gave another archive than the one in the table.
    """
    kept = folder / package.sha256
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            subprocess.run(_command(package), cwd=scratch, check=True)
            (downloaded,) = Path(scratch).iterdir()
            downloaded.rename(kept)
    if (found := _sha256(kept)) != package.sha256:
        kept.unlink()
        raise ValueError(f"{package.name} {package.version} is another archive than the table's: {found}")
    return kept


def unpack(package: Package, archive: Path, folder: Path) -> None:
    """Unpack an archive into an empty folder, refusing what would land outside it."""
    if package.registry is Registry.DEBIAN:
        command = ["dpkg-deb", "--extract", str(archive), str(folder)]
        subprocess.run(command, check=True)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                wheel.extract(name, folder)
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                tar.extract(member, folder, filter="data")


def _files(root: Path, pattern: str, without: str) -> list[Path]:
    """List the files whose path in the package matches a pattern, in the order of their names."""
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return [root / name for name in names if fnmatchcase(name, pattern) and not (without and re.search(without, name))]


class Collection:
    """The folder that is being filled.

    Attributes:
        counts: Pictures written, by folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self._seen: set[tuple[str, bytes]] = set()
        self._names: set[str] = set()

    def add(self, package: Package, unpacked: Path) -> Counter[str]:
        """Write the pictures and slices of one package, and count them by folder."""
        before = self.counts.copy()
        for pick in package.picks:
            self._add_pick(package, unpacked, pick.kind, _files(unpacked, pick.pattern, pick.without), pick.limit)
        for volume in package.volumes:
            (path,) = _files(unpacked, volume.path, "")
            for name, picture in slices_of(path, volume):
                self._write(f"{volume.folder}/{volume.name}", name, picture)
        return self.counts - before

    def _add_pick(self, package: Package, unpacked: Path, kind: str, files: list[Path], limit: int) -> None:
        folder, source = f"pictures/{kind}", re.sub(r"\W+", "-", package.name).strip("-")
        found: list[tuple[str, Picture]] = []
        for path in spread(files, 2 * limit):
            for ending, picture in pictures_of(path):
                mark = (folder, fingerprint(picture))
                if mark not in self._seen:
                    self._seen.add(mark)
                    found.append((self._name(source, path.relative_to(unpacked), ending), picture))
        for name, picture in spread(found, min(limit, KIND_LIMIT - self.counts[folder])):
            self._write(folder, name, picture)

    def _name(self, source: str, path: Path, ending: str) -> str:
        """Name a picture after its file, with as many of its folders as tell it from all before it."""
        parts = path.with_suffix("").parts
        for depth in range(2, len(parts) + 2):
            name = re.sub(r"[^\w.-]+", "-", f"{source}__{'-'.join(parts[-depth:])}{ending}")
            if name not in self._names:
                break
        self._names.add(name)
        return name

    def _write(self, folder: str, name: str, picture: Picture) -> None:
        target = self.folder / folder / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        self.counts[folder] += not target.exists()
        cv2.imwrite(str(target), picture)


def check_tools() -> None:
    """Refuse to start without what an archive in the middle of the list would miss.

    Raises:
        SystemExit: Commands or modules are missing; the message names all of them.
    """
    modules = [name for name in MODULES if importlib.util.find_spec(name) is None]
    commands = [name for name in COMMANDS if shutil.which(name) is None]
    if commands:
        raise SystemExit(f"These commands are missing: {', '.join(commands)}. Debian 12 with npm and pip has them.")
    if modules:
        raise SystemExit(f"These modules are missing. Install them: pip install {' '.join(modules)}")


def main() -> int:
    """Collect everything the table names."""
    options = arguments()
    check_tools()
    archives: Path = options.archives or options.output / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    archives = archives.resolve()
    collection = Collection(options.output)
    rows = ["registry\tpackage\tversion\tsha256\tlicence\tgave\tpictures"]
    for package in HEADS + MEDICAL + EVERYDAY:
        if options.only and package.name not in options.only:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            unpack(package, archive_of(package, archives), Path(scratch))
            gave = collection.add(package, Path(scratch))
        kinds = ", ".join(f"{folder} ({count})" for folder, count in sorted(gave.items()))
        facts = (package.registry.value, package.name, package.version, package.sha256, package.licence, kinds)
        rows.append("\t".join((*facts, str(gave.total()))))
        print(f"{package.name} {package.version}: {kinds}", flush=True)
    (options.output / "SOURCES.tsv").write_text("\n".join(rows) + "\n")
    print(f"manifest: {write_manifest(options.output)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
