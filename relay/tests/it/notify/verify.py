"""Verifies a webhook with the library of Standard Webhooks itself: reads secret, headers and body as JSON.

Exit code 1: it is refused.
"""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

given = json.load(sys.stdin)
try:
    Webhook(given["secret"]).verify(given["body"], given["headers"])
except WebhookVerificationError as refusal:
    sys.exit(f"refused: {refusal}")
