"""Content credentials (C2PA): a signed record in a file, of who made it and how. Needs the extra ``c2pa``."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from fomm._version import __version__
from fomm.atomic import atomic_path
from fomm.errors import InputError, MediaError, MissingExtraError, shown
from fomm.media.paths import PathLike

# The press's word (IPTC) for pictures of which a trained network made a part.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_SIGNED = (".mp4", ".gif")  # results that can hold credentials; .webm files and folders cannot
_LARGEST_KEY = 1 << 20  # bytes, of a file with a key and its certificates
_SETTINGS = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}  # a file opens no connection


class Credentials(NamedTuple):
    """The credentials in a file.

    Attributes:
        state: ``"Valid"``: signed, and not changed since, by somebody who is on no list of trust here;
            ``"Trusted"``: the same by somebody who is; ``"Invalid"``: changed since, or signed wrongly.
        signer: whom the certificate names; "" where it names nobody.
        made_by: the program that signed.
        source_type: the last word of the kind of source, ``compositeWithTrainedAlgorithmicMedia`` from fomm.
    """

    state: str
    signer: str
    made_by: str
    source_type: str


class Signer:
    """Signs a result: a function that is given its file.

    Args:
        pem: a file with a private key and its certificates, the signer's own first, each in PEM.
        result: the name that the file will have.

    Raises:
        InputError: the key cannot be used, or a result of this kind cannot hold credentials.
        MissingExtraError: c2pa-python is not installed.
    """

    def __init__(self, pem: PathLike, result: PathLike) -> None:
        self._name = Path(result).name
        if Path(result).suffix.lower() not in _SIGNED:
            raise InputError(
                f"{result} cannot hold content credentials; files of {' and '.join(_SIGNED)} can"
            )
        self._c2pa = _import_c2pa()
        self._pem = pem
        key, certificates, algorithm = _read_pem(pem)
        try:
            info = self._c2pa.C2paSignerInfo(algorithm, certificates, key, None)
            self._signer = self._c2pa.Signer.from_info(info)
        except self._c2pa.C2paError as reason:
            raise InputError(f"{pem} cannot sign content credentials: {shown(reason, 200)}") from reason

    def __call__(self, path: Path) -> None:
        """Sign a complete file, whose suffix tells its kind. Raise ``MediaError`` where that fails."""
        action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
        manifest = {
            "claim_generator_info": [{"name": "fomm", "version": __version__}],
            "title": self._name,
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
        }
        with atomic_path(path, MediaError) as signed:
            try:
                self._c2pa.Builder(json.dumps(manifest)).sign_file(str(path), str(signed), self._signer)
            except self._c2pa.C2paError as reason:
                raise MediaError(
                    f"{self._name} could not be signed with {self._pem}: {shown(reason, 200)}"
                ) from reason


def read_credentials(path: Path) -> Credentials | None:
    """Return the content credentials in a file; None where there are none.

    Nothing is fetched from elsewhere. Raises ``MissingExtraError`` where c2pa-python is not installed.
    """
    c2pa = _import_c2pa()
    try:
        with c2pa.Context.from_dict(_SETTINGS) as context, c2pa.Reader(str(path), context=context) as reader:
            told = json.loads(reader.json())
    except (c2pa.C2paError, ValueError, OSError):  # no credentials, or a kind of file that has none
        return None
    manifest = told.get("manifests", {}).get(told.get("active_manifest"), {})
    signature = manifest.get("signature_info", {})
    makers = [
        f"{maker.get('name')} {maker.get('version', '')}"
        for maker in manifest.get("claim_generator_info", [])
    ]
    sources = [
        str(action["digitalSourceType"]).rpartition("/")[2]
        for assertion in manifest.get("assertions", [])
        if str(assertion.get("label")).startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", [])
        if "digitalSourceType" in action
    ]
    named = [str(signature[key]) for key in ("common_name", "issuer") if signature.get(key)]
    return Credentials(
        str(told.get("validation_state", "Invalid")),
        shown(", ".join(named)),
        shown(", ".join(makers)).strip(),
        shown(", ".join(sources)),
    )


def _import_c2pa() -> Any:
    try:
        import c2pa
    except (ImportError, OSError) as reason:
        raise MissingExtraError(
            "content credentials need c2pa-python: pip install 'fomm[c2pa]', or leave them out"
        ) from reason
    return c2pa


def _read_pem(path: PathLike) -> tuple[bytes, bytes, str]:
    """Return the private key and the certificates in a file, in PEM, and the algorithm to sign by."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST_KEY)
    except OSError as reason:
        raise InputError(f"cannot read {path}: {reason.strerror or reason}") from reason
    parts: dict[bytes, list[bytes]] = {}
    for found in re.finditer(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\r?\n?", content, re.S):
        parts.setdefault(found[1], []).append(found[0])
    certificates = parts.get(b"CERTIFICATE", [])
    keys = [part for name, found in parts.items() if name.endswith(b"PRIVATE KEY") for part in found]
    if len(keys) != 1 or not certificates:
        raise InputError(
            f"{path} has {len(keys)} private keys and {len(certificates)} certificates in PEM; expected one "
            "key and its certificates, the signer's own first"
        )
    try:
        key = serialization.load_pem_private_key(keys[0], None)
        plain = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    except (ValueError, TypeError) as reason:  # damaged, or behind a password
        raise InputError(f"the private key in {path} cannot be read: {shown(reason, 200)}") from reason
    if isinstance(key, ec.EllipticCurvePrivateKey):
        algorithm = {256: "es256", 384: "es384", 521: "es512"}.get(key.curve.key_size, "")
    else:
        kinds = ((rsa.RSAPrivateKey, "ps256"), (ed25519.Ed25519PrivateKey, "ed25519"))
        algorithm = next((name for kind, name in kinds if isinstance(key, kind)), "")
    if not algorithm:
        raise InputError(
            f"the private key in {path} is of a kind that C2PA does not take; expected P-256 or RSA"
        )
    return plain, b"".join(certificates), algorithm
