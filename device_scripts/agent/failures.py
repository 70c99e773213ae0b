"""Failures of a measurement, sorted into the few kinds that ``protocol.json`` names."""


class Failed(Exception):
    """This model cannot be measured here; ``kind`` is a word that programs can rely on."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


# Parts of messages and types of the runtimes' exceptions, lower case.
_SIGNS = (
    ("out-of-memory", ("bad_alloc", "allocate memory", "out of memory", "cannot allocate")),
    (
        "unsupported",
        (
            "notimplemented",
            "not implemented",
            "opset",
            "no op registered",
            "not a registered",
            "unsupported model ir version",
            "didn't find op",
            "unresolved custom op",
            "could not find an implementation",
            "delegate",
        ),
    ),
    (
        "model-corrupt",
        (
            "invalidprotobuf",
            "invalid_protobuf",
            "protobuf parsing failed",
            "invalidgraph",
            "model identifier",
            "could not open",
            "mmap",
            "not a valid flatbuffer",
            "not correct",
            "failed to load model",
            "no graph was found",
        ),
    ),
)


def kind_of(error, signs=()):
    """The kind of a runtime's exception; ``signs`` of its engine come before the common ones."""
    text = ("%s %s" % (type(error).__name__, error)).lower()
    for kind, parts in (*signs, *_SIGNS):
        if any(part in text for part in parts):
            return kind
    return "crashed"


def one_line(error):
    """The message of an exception, at most 400 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 400 else text[:400] + "..."
