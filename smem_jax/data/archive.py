"""The JSON files of a `.tgz`, as npm packages are."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from smem_jax.errors import InputError


def json_files(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Name and content of each file `.json` in an archive; InputError where it is damaged."""
    try:
        # All at once: of a stream, tarfile would ask as many bytes as a header claims.
        whole = io.BytesIO(gzip.decompress(path.read_bytes()))
        with tarfile.open(fileobj=whole, mode="r:") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                # A sparse file may claim any number of zeros.
                if member.isreg() and not member.issparse() and name.suffix == ".json":
                    content = archive.extractfile(member)
                    assert content is not None  # it is a file
                    yield name, content.read()
    except (gzip.BadGzipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: no tgz archive, or damaged ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
