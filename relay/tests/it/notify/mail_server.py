"""A real mail server (aiosmtpd) that takes mail of one user and tells each message as a line of JSON.

usage: mail_server.py PORT tls|starttls|none CERTIFICATE KEY USER PASSWORD
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Told:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        told = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": {name.lower(): str(value) for name, value in message.items()},
            "text": message.get_content(),
            "tls": session.ssl is not None or security == "tls",
            "user": session.auth_data,
        }
        print(json.dumps(told), flush=True)
        return "250 taken"


def authenticator(server, session, envelope, mechanism, data):
    if (data.login.decode(), data.password.decode()) == (user, password):
        return AuthResult(success=True, auth_data=data.login.decode())
    # A server that repeats what it was sent.
    return AuthResult(success=False, handled=False, message=f"535 not {data.password.decode()}")


port, security, certificate, key, user, password = sys.argv[1:]
context = None
if security != "none":
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)


def session():
    return SMTP(
        Told(),
        tls_context=context if security == "starttls" else None,
        require_starttls=security == "starttls",
        auth_required=security != "none",
        # Over TLS from the first byte the server does not notice that there is one.
        auth_require_tls=security == "starttls",
        authenticator=authenticator,
    )


async def main():
    over = context if security == "tls" else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, "127.0.0.1", int(port), ssl=over)
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
