#!/usr/bin/env python3
"""The API calls that docker/aws.sh prints, against the service models that botocore carries.

No account and no network. Exit 77 without botocore. It checks names, types, ranges and required
fields of the requests; whether the platform accepts them in an account is not known from here.
"""
import json
import os
import pathlib
import subprocess
import sys

try:
    import botocore.session
    from botocore import xform_name
    from botocore.validate import ParamValidator
except ImportError:
    print("skipped: botocore is not installed")
    sys.exit(77)

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "docker" / "aws.sh"
BASE = {"ROLE_ARN": "arn:aws:iam::123456789012:role/hadal", "MODEL_S3": "s3://bucket/model/"}
CASES = [
    ("push", {}, 2), ("deploy", {}, 3), ("invoke", {}, 1), ("delete", {}, 3),
    ("deploy", {"VARIANT": "serverless", "MODEL_TAR": "s3://bucket/model.tar.gz"}, 3),
    ("deploy", {"VARIANT": "async", "OUTPUT_S3": "s3://bucket/out/"}, 3),
]


def errors(line):
    service, verb, body = line.split(" ", 2)
    model = botocore.session.get_session().get_service_model(service)
    names = {xform_name(n, "-"): n for n in model.operation_names}
    shape = model.operation_model(names[verb]).input_shape
    report = ParamValidator().validate(json.loads(body), shape)
    return report.generate_report() if report.has_errors() else ""


def run(verb, extra):
    env = {"PATH": os.environ["PATH"], **BASE, **extra}
    return subprocess.run([SCRIPT, "--dry-run", verb, "demo"], env=env, text=True, capture_output=True)


def main():
    failed = 0
    for verb, extra, count in CASES:
        done = run(verb, extra)
        calls = [x for x in done.stdout.splitlines() if not x.startswith("#")]
        problem = done.stderr or "".join(errors(x) for x in calls)
        if not problem and len(calls) != count:
            problem = f"{len(calls)} calls, expected {count}"
        print(("FAILED  " if problem else "ok      "), verb, extra, problem)
        failed += bool(problem)
    # The check itself must notice a misspelt field, and bad settings must be refused.
    assert errors('sagemaker create-endpoint {"EndpointName":"a","EndpointConfig":"a"}')
    for extra in ({"VARIANT": "other"}, {"MODEL_S3": "bucket"}, {"ROLE_ARN": ""}):
        assert run("deploy", extra).returncode == 64, extra
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
