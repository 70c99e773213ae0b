"""Everything this package raises on purpose.

    DeployError
    ├── UsageError              the user's mistake: exit code 2
    ├── ExportError             a model could not be converted
    │   ├── UnavailableError        there are no such files for the target
    │   ├── UnsupportedError    the format has nothing for a layer
    │   │   └── UnreadableError     the network does what no graph can say: exit code 2
    │   └── ParityError         it was converted, but computes something else
    ├── EvaluationError         accuracy could not be measured
    ├── WorkersError            processes or machines that share work were lost
    │   └── WorkerVersionsError     one has other versions: exit code 2
    ├── TransportError          the link to the target failed
    │   ├── HostKeyError            unknown or changed host key: exit code 2
    │   ├── AuthenticationError     none of the user's keys is accepted: exit code 2
    │   ├── NegotiationError        client and server have no algorithm in common: exit code 2
    │   ├── LeaseError              a board of a lab is not ours any more
    │   ├── ConnectError            transient
    │   ├── TransferError           transient
    │   └── CommandTimeout          transient
    ├── TargetError             the target cannot do what was asked (disk full, ...)
    │   └── MissingRuntimeError     a runtime cannot be had there
    ├── ArchiveError            Debian's packages cannot be fetched
    ├── BoardError              the virtual board cannot be built or started
    └── ParseError              a program on the target printed something unexpected

Third-party exceptions are translated where they arise, so callers handle this tree alone. Each
message is one line that states what went wrong, where, and what to do. Only ``bench`` retries, and
only what is ``transient``; only ``cli`` exits. What comes from outside is checked where it comes
in: see the boundary in docs/architecture.md.
"""

from __future__ import annotations


class DeployError(Exception):
    """Base of every deliberate error; ``str()`` is the line shown to the user."""

    transient: bool = False
    exit_code: int = 1


class UsageError(DeployError):
    """The user asked for something that cannot be: a bad option, file or name."""

    exit_code = 2


class ExportError(DeployError):
    """A model could not be converted to the requested format."""


class UnavailableError(ExportError):
    """There are no such files: a format lacks the precision, or a target has no code for it."""


class UnsupportedError(ExportError):
    """The format has nothing for a layer, however the file is made."""


class UnreadableError(UnsupportedError):
    """The user's network does what a graph, or torch's exporter, cannot say."""

    exit_code = 2


class ParityError(ExportError):
    """A converted model does not compute what the original computes."""


class EvaluationError(DeployError):
    """The accuracy of a network could not be measured."""


class WorkersError(DeployError):
    """Processes or machines that share work were lost, and work with them."""


class WorkerVersionsError(WorkersError):
    """A machine that is to share work has other versions, so that its results might differ."""

    exit_code = 2


class TransportError(DeployError):
    """The link to the target failed."""


class ConnectError(TransportError):
    """No connection could be made, or it was lost."""

    transient = True


class HostKeyError(TransportError):
    """The host key is unknown or has changed; never worth a retry."""

    exit_code = 2


class AuthenticationError(TransportError):
    """The target accepts none of the user's keys; never worth a retry."""

    exit_code = 2


class NegotiationError(TransportError):
    """The client and the server have no algorithm in common; never worth a retry."""

    exit_code = 2


class LeaseError(TransportError):
    """The board is lent by a lab, and is not ours any more; never worth a retry."""


class TransferError(TransportError):
    """A file did not arrive whole."""

    transient = True


class CommandTimeout(TransportError):
    """A program on the target ran past its limit and was killed."""

    transient = True


class TargetError(DeployError):
    """The target cannot do what was asked of it."""


class MissingRuntimeError(TargetError):
    """A runtime cannot be had on the target: no release of it fits, or it is not there."""


class ArchiveError(DeployError):
    """Debian's packages cannot be resolved, fetched or read."""


class BoardError(DeployError):
    """The virtual board cannot be built, started or found."""


class ParseError(DeployError):
    """A program on the target printed something this version does not understand."""
