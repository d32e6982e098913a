"""The errors that end a command, each with its exit code, and those of a single request.

    PartnerToolsError                     exit
    ├── UnknownRunError                      2   no run, or several, go by that name
    ├── MissingValueError                    2   no channel or no customer was named
    ├── InputError                           3   batch, plan or configuration is invalid
    ├── AuthError                            4   no token, wrong permission
    │   └── Unauthorized                     4   one 401: a fresh token may help, once
    ├── ServiceError                         5   a service is unavailable or refuses to continue
    │   ├── Unsent                           5   no byte of the request left this machine
    │   │   └── Untrusted                    5   its certificate is not trusted: waiting won't help
    │   ├── Unanswered                       5   it left, and no whole answer came
    │   ├── Throttled                        5   429: not now
    │   ├── Unavailable                      5   408 or 5xx: it may or may not have been done
    │   ├── Rejected                         5   another 4xx: the service understood and said no
    │   ├── Redirected                       5   3xx: never followed with a token on board
    │   └── Unreadable                       5   a success whose body is not what was promised
    ├── LedgerError                          6   locked, damaged or of another version
    │   └── DamagedRunError                  6   one run cannot be read; the others can
    ├── GuardError                           8   a guard refused
    └── Interrupted                        130   Ctrl-C, SIGTERM, SIGHUP; resumable

`str(error)` says what happened and carries the request id; `remedy` says what to do next.
The outcome of one device is a value (`model.Outcome`), never an exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from partner_tools.model import Customer, Problem


class PartnerToolsError(Exception):
    """A failure that a user can understand and act on."""

    exit_code = 1
    default_rule = "error"

    def __init__(self, message: str, *, remedy: str = "", rule: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.rule = rule or self.default_rule


class UnknownRunError(PartnerToolsError, LookupError):
    """No run of the ledger, or more than one, goes by this name."""

    exit_code = 2
    default_rule = "unknown-run"


class MissingValueError(PartnerToolsError):
    """Something that has to be said was not: by which channel, for which customer."""

    exit_code = 2
    default_rule = "unsaid"


class InputError(PartnerToolsError):
    """The batch, plan or configuration is invalid; nothing that changes anything was sent."""

    exit_code = 3
    default_rule = "invalid-input"

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        rule: str | None = None,
        problems: tuple[Problem, ...] = (),
    ) -> None:
        super().__init__(message, remedy=remedy, rule=rule)
        self.problems = problems


def ambiguous_customer(named: str, customers: Iterable[Customer]) -> InputError:
    """The error for a domain or name that several customers have."""
    listed = ", ".join(f"{each.domain or each.name} ({each.tenant_id})" for each in customers)
    return InputError(
        f"several customers are called {named!r}: {listed}",
        rule="ambiguous-customer",
        remedy="name the customer by its tenant id",
    )


class AuthError(PartnerToolsError):
    """No token could be had, or the service says that its bearer may not do this."""

    exit_code = 4
    default_rule = "not-authorized"


class ServiceError(PartnerToolsError):
    """A service is unavailable or refuses to continue.

    `code` is the service's own error code as text (Partner Center sends numbers and strings);
    `retry_after` is in seconds, None where the service did not say.
    """

    exit_code = 5
    default_rule = "service-error"

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        rule: str | None = None,
        status: int | None = None,
        code: str | None = None,
        description: str | None = None,
        request_id: str | None = None,
        correlation_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy, rule=rule)
        self.status = status
        self.code = code
        self.description = description
        self.request_id = request_id
        self.correlation_id = correlation_id
        self.retry_after = retry_after

    @property
    def facts(self) -> dict[str, Any]:
        """The service's own words for it, for an error or a verdict that takes its place."""
        names = ("status", "code", "request_id", "correlation_id")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        named = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.message}{named}"


class Unsent(ServiceError):
    """No byte of the request left this machine: name resolution, refused connection, TLS."""

    default_rule = "host-unreachable"


class Untrusted(Unsent):
    """The service's TLS certificate is not trusted; no byte of the request left this machine."""

    default_rule = "certificate-not-trusted"


class Unanswered(ServiceError):
    """The request left and no whole answer came back: it may have been processed."""

    default_rule = "no-answer"


class Throttled(ServiceError):
    """429: the service did nothing, and wants to be asked later."""

    default_rule = "throttled"


class Unavailable(ServiceError):
    """408 or 5xx: the service failed, and does not say whether before or after acting."""

    default_rule = "service-unavailable"


class Unauthorized(ServiceError, AuthError):
    """401. One fresh token may help; a second 401 ends the run."""

    exit_code = 4
    default_rule = "not-authorized"


class Rejected(ServiceError):
    """A 4xx that is none of the above: `status`, `code` and `description` say why."""

    default_rule = "rejected"


class Redirected(ServiceError):
    """A 3xx: a token travels only to the host that it is for, so nothing is followed."""

    default_rule = "redirect"


class Unreadable(ServiceError):
    """The service answered success with a body that is not what its contract promises."""

    default_rule = "unreadable-answer"


class LedgerError(PartnerToolsError):
    """The ledger is locked, damaged or of another version; it was left as it is."""

    exit_code = 6
    default_rule = "ledger"


class DamagedRunError(LedgerError, ValueError):
    """One run in the ledger cannot be read; every other run can."""

    default_rule = "run-damaged"

    def __init__(self, run: str, what: str) -> None:
        super().__init__(
            f"run {run} is damaged: {what} cannot be read",
            remedy="`partner-tools ledger verify` says what was changed; restore the ledger from a "
            "copy, or leave this run alone: the others are not concerned",
        )


class GuardError(PartnerToolsError):
    """A guard refused: nothing that changes anything was sent."""

    exit_code = 8
    default_rule = "guard"


class Interrupted(PartnerToolsError):
    """Ctrl-C, SIGTERM or SIGHUP. Requests in flight are recorded; the run is resumable."""

    exit_code = 130
    default_rule = "interrupted"
