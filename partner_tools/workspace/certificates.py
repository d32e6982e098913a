"""Release certificates as files: signed, written, and checked without the ledger they came from."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from partner_tools.errors import InputError
from partner_tools.files import EXPORT_BYTES, read_document
from partner_tools.json_forms import digest, digest_of_bytes
from partner_tools.model import Account
from partner_tools.signing import (
    Purpose,
    Signature,
    fingerprint,
    grouped,
    is_valid,
    read_signatures,
    sign,
    signature_entries,
)
from partner_tools.workspace.environment import now

if TYPE_CHECKING:
    from partner_tools.ledger import Ledger, RunRecord
    from partner_tools.report.certificate import Erasure
    from partner_tools.signing import SigningKey

LARGEST_CERTIFICATE: Final = 64 * 1024 * 1024
"""Bytes; ten thousand devices take some thirty million."""
CHECKING_PAGE: Final = "verify-certificate.html"
_REMEDY = "name the JSON file of the certificate, as it was sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateCheck:
    """The check of a certificate. `signers` are the names of known signers whose signature is
    valid, `fingerprints` of all whose signature is."""

    document: Mapping[str, Any]
    findings: tuple[str, ...]
    fingerprints: tuple[str, ...]
    signers: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """3 where something is wrong, 7 where the signer is not known here, else 0."""
        if self.findings:
            return InputError.exit_code
        return 0 if self.signers else 7

    @property
    def json(self) -> dict[str, Any]:
        """As `certificate verify --output json` prints it."""
        from partner_tools.report.certificate import open_locks

        return {
            "schemaVersion": "1",
            "genuine": not self.findings,
            "kind": self.document["kind"],
            "issuedAt": self.document["issuedAt"],
            "partner": self.document["partner"]["name"],
            "digest": self.document["digest"],
            "fingerprints": list(self.fingerprints),
            "signedBy": list(self.signers),
            "devices": [
                {
                    "serialNumber": each["serialNumber"],
                    "released": each["released"] and not self.findings,
                    "open": [one["lock"] for one in open_locks(each)],
                }
                for each in self.document["devices"]
            ],
            "findings": list(self.findings),
        }


def issue(
    ledger: Ledger,
    record: RunRecord,
    key: SigningKey,
    folder: Path,
    *,
    partner: Mapping[str, str],
    serials: Collection[str] = (),
    each: bool = False,
    erasure: Erasure | None = None,
) -> Iterator[tuple[Mapping[str, Any], Path]]:
    """Sign and write the certificates of a run: JSON, a page to print, and the page that checks
    them. Yields each signed document with the path of its JSON file, durable by then."""
    from partner_tools.files import require_folder, write_private
    from partner_tools.report.guide import harmless
    from partner_tools.report.page import certificate_page, checking_page
    from partner_tools.runs.build_handoffs import certificates

    at = now()
    unsigned = list(
        certificates(
            ledger, record, partner=partner, now=at, serials=serials, each=each, erasure=erasure
        )
    )
    require_folder(folder)
    for customer, document in unsigned:
        made = sign(Purpose.CERTIFICATE, document["digest"], key=key, account=Account(), at=at)
        signed = {**document, "signatures": signature_entries([made])}
        named = customer.domain or customer.tenant_id if customer else "unassigned"
        parts = [document["kind"], harmless(named.casefold()), harmless(record.run)]
        if each or serials:
            parts.append(harmless(str(document["devices"][0]["serialNumber"])))
        path = folder / f"{'-'.join(parts)}.json"
        write_private(path, f"{json.dumps(signed, ensure_ascii=False, indent=1)}\n".encode())
        write_private(path.with_suffix(".html"), certificate_page(signed))
        yield signed, path
    if unsigned:
        write_private(folder / CHECKING_PAGE, checking_page())


def erasure_record(file: Path, *, method: str, standard: str, provider: str) -> Erasure:
    """The erasure record in a file, named by its digest. Raises InputError where it is not read."""
    from partner_tools.report.certificate import Erasure

    content: bytes = read_document(
        file,
        EXPORT_BYTES,
        what="the erasure record",
        rule="erasure-unreadable",
        remedy="name the file that the erasure software wrote",
        read=bytes,
    )
    return Erasure(
        method=method,
        standard=standard,
        provider=provider,
        file=file.name,
        digest=digest_of_bytes(content),
    )


def check_certificate(file: Path, trusted: Mapping[str, str]) -> CertificateCheck:
    """Check digest, signatures and consistency of a certificate. `trusted` names known signers by
    public key or fingerprint. Raises InputError for what is no certificate."""
    from partner_tools.intake.schema import checker
    from partner_tools.report.certificate import contradictions, unsigned

    document = read_document(
        file,
        LARGEST_CERTIFICATE,
        what="certificate",
        rule="certificate-unreadable",
        remedy=_REMEDY,
    )
    faults = checker("certificate").violations(document)
    if faults:
        place = faults[0].place("/") or "the whole file"
        raise InputError(
            f"{str(file)!r} is no certificate: {place}: {faults[0].message}",
            rule="certificate-invalid",
            remedy=_REMEDY,
        )
    findings = []
    if digest(unsigned(document)) != document["digest"]:
        findings.append("its content is not what its digest says: it was changed")
    signatures = read_signatures(document)
    valid = [each for each in signatures if is_valid(each, Purpose.CERTIFICATE, document["digest"])]
    if len(valid) < len(signatures) or not valid:
        findings.append("a signature is not one of this certificate")
    findings += contradictions(document)
    return CertificateCheck(
        document=document,
        findings=tuple(findings),
        fingerprints=tuple(fingerprint(each.key) for each in valid),
        signers=tuple(name for each in valid if (name := _known(each, trusted)) is not None),
    )


def _known(signature: Signature, trusted: Mapping[str, str]) -> str | None:
    return trusted.get(signature.key, trusted.get(fingerprint(signature.key)))


def keys_document(public: str, partner: Mapping[str, str]) -> dict[str, Any]:
    """A partner's public key as its buyers get it, by `schemas/keys.schema.json`."""
    return {
        "schemaVersion": "1",
        "partner": {"name": partner.get("name"), "contact": partner.get("contact")},
        "publishedAt": now().isoformat(timespec="seconds"),
        "keys": [
            {
                "key": public,
                "fingerprint": fingerprint(public),
                "purposes": [Purpose.CERTIFICATE.value],
            }
        ],
    }


def keys_text(document: Mapping[str, Any], domain: str | None) -> str:
    """Return the text for a partner's website and DNS, ready to copy."""
    name = document["partner"]["name"] or "This partner"
    where = domain or "example.com"
    lines = []
    for each in document["keys"]:
        lines += [
            f"{name} signs release certificates with this Ed25519 key:",
            "",
            f"  key          {each['key']}",
            f"  fingerprint  {grouped(each['fingerprint'])}",
            "",
            "DNS (a TXT record):",
            "",
            f'  _partner-tools.{where}. IN TXT "v=partner-tools1; k=ed25519;'
            f' p={each["key"].partition(":")[2]}"',
            "",
        ]
    return "\n".join(lines)


def published_keys(file: Path) -> dict[str, str]:
    """Names by public key from a file that `keys publish` wrote. Raises InputError."""
    from partner_tools.intake.schema import checker

    remedy = "name the file partner-keys.json of the partner"
    document = read_document(
        file, LARGEST_CERTIFICATE, what="file of keys", rule="keys-unreadable", remedy=remedy
    )
    faults = checker("keys").violations(document)
    if faults:
        raise InputError(
            f"{str(file)!r} is no file of keys: {faults[0].message}",
            rule="keys-invalid",
            remedy=remedy,
        )
    name = document["partner"]["name"] or file.name
    return {
        each["key"]: name
        for each in document["keys"]
        if Purpose.CERTIFICATE.value in each["purposes"]
    }
