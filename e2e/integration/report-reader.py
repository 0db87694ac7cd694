"""Reads a delivery report from standard input with Python's own email package and prints what it found as JSON."""
import email
import email.policy
import json
import sys

message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
parts = message.get_payload()


def groups(part):
    if part.get_content_type() == "message/delivery-status":
        return [[[name, str(value)] for name, value in group.items()] for group in part.get_payload()]
    # The package knows the ASCII form only: read the fields of the other one as header blocks.
    raw = part.as_bytes().split(b"\n\n", 1)[1].replace(b"\r\n", b"\n").decode("utf-8")
    blocks = [block for block in raw.strip().split("\n\n") if block]
    policy = email.policy.default.clone(utf8=True)
    return [
        [[name, str(value)] for name, value in email.message_from_string(block + "\n\n", policy=policy).items()]
        for block in blocks
    ]


print(
    json.dumps(
        {
            "header": [[name, str(value)] for name, value in message.items()],
            "type": message.get_content_type(),
            "reportType": message.get_param("report-type"),
            "parts": [part.get_content_type() for part in parts],
            "text": parts[0].get_content(),
            "groups": groups(parts[1]),
            "defects": [str(defect) for part in message.walk() for defect in part.defects],
        }
    )
)
