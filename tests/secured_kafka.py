"""A real broker that asks who we are, with one listener for each way to say it; certificates of a CA of its own.

plain   anybody, for what a test prepares      mutual  TLS, with a certificate of the CA from both
tls     TLS                                    sasl    TLS and SASL: PLAIN, SCRAM-SHA-512 or OAUTHBEARER (unsecured)
"""

import base64
import contextlib
import datetime
import ipaddress
import json
import socket
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.kafka_broker import java, java_broker

USER, SECRET = "ann", "the-right-secret"
DAY = datetime.timedelta(days=1)
PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:{{client}},CONTROLLER://127.0.0.1:{{controller}},TLS://127.0.0.1:{tls},\
MUTUAL://127.0.0.1:{mutual},SASL://127.0.0.1:{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,MUTUAL:SSL,SASL:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.mutual.ssl.client.auth=required
listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{user}="{secret}";
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule \
required unsecuredLoginStringClaim_sub="broker";
"""
# Of a broker that lets others do what they were granted; ann and who needs no password there may do all.
GRANTED_PASSWORD = "right"
GRANTED = ("bob", "worker", "gateway", "pulse", "match", "detect", "sink", "notify", "console")
AUTHORIZING = f"""
listeners=PLAINTEXT://127.0.0.1:{{{{client}}}},SASL_PLAINTEXT://127.0.0.1:{{secured}},\
CONTROLLER://127.0.0.1:{{{{controller}}}}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
{" ".join(f'user_{name}="{GRANTED_PASSWORD}"' for name in ("ann", *GRANTED))};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:ann
"""


@dataclass(frozen=True, slots=True)
class Secured:
    """Where it listens, and the folder of certificates: ca, other-ca, client (certificate and key), stranger."""

    plain: str
    tls: str
    mutual: str
    sasl: str
    folder: Path

    def pem(self, name: str) -> str:
        """Return the path of a file of certificates."""
        return str(self.folder / f"{name}.pem")


@contextlib.contextmanager
def secured_broker(folder: Path, now_ms: int) -> Generator[Secured]:
    """Yield a broker that has started and knows USER by SECRET; skip where there is no Java."""
    _write_certificates(folder, datetime.datetime.fromtimestamp(now_ms / 1000, datetime.UTC))
    tls, mutual, sasl = _free_ports(3)
    more = PROPERTIES.format(tls=tls, mutual=mutual, sasl=sasl, folder=folder, user=USER, secret=SECRET)
    with java_broker(more) as plain:
        _add_scram_user(plain)
        yield Secured(plain, f"127.0.0.1:{tls}", f"127.0.0.1:{mutual}", f"127.0.0.1:{sasl}", folder)


@contextlib.contextmanager
def authorizing_broker() -> Generator[tuple[str, str]]:
    """Yield where all may be done, and where each user, by GRANTED_PASSWORD, may do what it was granted."""
    (port,) = _free_ports(1)
    with java_broker(AUTHORIZING.format(secured=port)) as plain:
        yield plain, f"127.0.0.1:{port}"


def unsecured_token(now_ms: int, lives_s: int = 3_600) -> str:
    """Return a token as the broker's unsecured validator takes it, until `lives_s` from now."""
    now_s = now_ms // 1000
    parts = [{"alg": "none"}, {"sub": USER, "iat": now_s - 60, "exp": now_s + lives_s}]
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts), ""])


def _add_scram_user(bootstrap: str) -> None:
    command = java("kafka.admin.ConfigCommand", "--bootstrap-server", bootstrap, "--alter")
    command += ["--entity-type", "users", "--entity-name", USER]
    command += ["--add-config", f"SCRAM-SHA-512=[iterations=4096,password={SECRET}]"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def _write_certificates(folder: Path, now: datetime.datetime) -> None:
    for authority, signed in (("ca", ("broker", "client")), ("other-ca", ("stranger",))):
        key, name = ec.generate_private_key(ec.SECP256R1()), _name(authority)
        limits = x509.BasicConstraints(ca=True, path_length=None)
        certificate = _builder(name, name, key.public_key(), now).add_extension(limits, critical=True)
        (folder / f"{authority}.pem").write_bytes(_pem(certificate.sign(key, hashes.SHA256())))
        for each in signed:
            own = ec.generate_private_key(ec.SECP256R1())
            address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
            made = _builder(_name(each), name, own.public_key(), now).add_extension(address, critical=False)
            (folder / f"{each}.pem").write_bytes(_key_pem(own) + _pem(made.sign(key, hashes.SHA256())))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"flowgauge test {text}")])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - DAY).not_valid_after(now + DAY)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(pem, pkcs8, serialization.NoEncryption())


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as sockets:
        found = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in found]
