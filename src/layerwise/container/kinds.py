"""What sets the kinds of files apart: models are for keeping and showing, checkpoints for going on with a fit."""

from __future__ import annotations

from dataclasses import dataclass

from layerwise.errors import CheckpointError, LayerwiseError, ModelFileError


@dataclass(frozen=True)
class Kind:
    """One kind of file; `header` has the layout that all of them share.

    Parameters
    ----------
    name : str
        In messages: "model".
    key : str
        Under which the document stands in the metadata of the header. It tells the kinds apart, so that no reader
        takes one for another.
    version : int
        Of this kind's format; a file of a higher one is refused.
    dtypes : tuple of str
        Of its arrays, as files spell them.
    finite : bool
        Whether NaN and infinity are refused.
    error : subclass of LayerwiseError
        Raised for a file that cannot be read or written.
    use : str
        What such a file is for, said to who took it for one of another kind.
    intact : str
        A sentence at the end of every message that a file was not written.
    follow_links : bool
        Whether a symbolic link stands for the file that it points to. Where a user names a file it does; among
        names found in a folder it could lead anywhere.
    beside : str
        Begins the name of the temporary file in writing, so that those of a killed writer can be told from others.
    """

    name: str
    key: str
    version: int
    dtypes: tuple[str, ...]
    finite: bool
    error: type[LayerwiseError]
    use: str
    intact: str = ""
    follow_links: bool = True
    beside: str = ""


MODEL = Kind(
    name="model",
    key="layerwise",
    version=1,
    dtypes=("F32", "F64"),
    finite=True,
    error=ModelFileError,
    use="layerwise.load reads it",
)

CHECKPOINT = Kind(
    name="checkpoint",
    key="layerwise-checkpoint",
    version=1,
    dtypes=("F32", "F64", "I64", "U64", "U8"),
    finite=False,  # a cost that was infinite is part of a history
    error=CheckpointError,
    use="a fit goes on from it",
    intact=" The earlier checkpoints are intact.",
    follow_links=False,
    beside="checkpoint-",
)

KINDS = (MODEL, CHECKPOINT)
