#!/usr/bin/env python3
"""Asks an endpoint and prints the text as it is generated. Needs boto3.

Usage: stream.py ENDPOINT BODY       BODY is JSON with "stream": true, in any dialect
AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=http://127.0.0.1:8081 asks the local gateway instead of AWS.
"""
import json
import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError  # the stream's own error is a ClientError


def lines(events):
    """Whole lines; the platform cuts the stream anywhere."""
    held = b""
    for event in events:
        held += event["PayloadPart"]["Bytes"]
        *whole, held = held.split(b"\n")
        yield from whole
    yield held


def text_of(event):
    """The new text of one event: chat, completions, TGI (its last event repeats the whole)."""
    if "error" in event:
        sys.exit(f"\nerror: {json.dumps(event['error'])}")
    if "token" in event:
        return "" if event["token"].get("special") else event["token"]["text"]
    for choice in event.get("choices", []):
        return choice.get("text") or choice.get("delta", {}).get("content") or ""
    return ""


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        answer = boto3.client("sagemaker-runtime").invoke_endpoint_with_response_stream(
            EndpointName=sys.argv[1], ContentType="application/json", Body=sys.argv[2])
        for line in lines(answer["Body"]):
            if line.startswith(b"data:") and line[5:].strip() not in (b"", b"[DONE]"):
                print(text_of(json.loads(line[5:])), end="", flush=True)
    except (BotoCoreError, ClientError) as e:
        sys.exit(f"error: {e}")
    print()


if __name__ == "__main__":
    main()
