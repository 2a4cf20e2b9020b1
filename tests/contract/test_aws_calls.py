#!/usr/bin/env python3
"""The API calls that docker/aws.sh prints, against the service models that botocore carries, and the
CloudFormation templates beside it.

No account and no network. Exit 77 without botocore. It checks names, types, ranges and required
fields of the requests, and that what templates refer to is there (with cfn-lint, their properties
too); whether the platform accepts them in an account is not known from here.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

try:
    import botocore.session
    from botocore import xform_name
    from botocore.validate import ParamValidator
except ImportError:
    print("skipped: botocore is not installed")
    sys.exit(77)

SESSION = botocore.session.get_session()
DOCKER = pathlib.Path(__file__).resolve().parents[2] / "docker"
SCRIPT = DOCKER / "aws.sh"
BASE = {"ROLE_ARN": "arn:aws:iam::123456789012:role/hadal", "MODEL_S3": "s3://bucket/model/",
        "REVISION": "20261101120000"}
SERVERLESS = {"VARIANT": "serverless", "MODEL_TAR": "s3://bucket/model.tar.gz"}
ASYNC = {"VARIANT": "async", "OUTPUT_S3": "s3://bucket/out/", "INPUT_S3": "s3://bucket/in/"}
CREATE = ["create-model", "create-endpoint-config"]
# Verb, its arguments, variables, and the calls that it must print.
CASES = [
    ("push", [], {}, ["describe-repositories", "create-repository", "get-authorization-token"]),
    ("push", [], {"REGISTRY": "localhost:5000"}, []),
    ("deploy", [], {}, [*CREATE, "create-endpoint"]),
    ("deploy", [], {"ENVIRONMENT": '{"HADAL_WEIGHTS":"q4_k"}', "COUNT": "3"}, [*CREATE, "create-endpoint"]),
    ("deploy", [], SERVERLESS, [*CREATE, "create-endpoint"]),
    ("deploy", [], ASYNC, [*CREATE, "create-endpoint"]),
    ("update", [], {}, [*CREATE, "put-metric-alarm", "update-endpoint"]),
    ("update", [], {"TRAFFIC": "canary"}, [*CREATE, "put-metric-alarm", "update-endpoint"]),
    ("update", [], {"TRAFFIC": "linear", "TIMEOUT": "3600", "BAKE": "3600"}, [*CREATE, "put-metric-alarm", "update-endpoint"]),
    ("update", [], ASYNC, [*CREATE, "put-metric-alarm", "update-endpoint"]),
    ("update", [], SERVERLESS, [*CREATE, "update-endpoint"]),
    ("rollback", ["20261031120000"], {}, ["update-endpoint"]),
    ("invoke", [], {}, ["invoke-endpoint"]),
    ("invoke", ['{"inputs":"say \\"hi\\"\\n",\n "parameters":{}}'], {}, ["invoke-endpoint"]),
    ("stream", [], {}, ["invoke-endpoint-with-response-stream"]),
    ("async", [], ASYNC, ["put-object", "invoke-endpoint-async"]),
    ("delete", [], {}, ["delete-endpoint", "list-endpoint-configs", "delete-endpoint-config", "list-models",
                        "delete-model", "delete-alarms"]),
]
REFUSED = [
    ("push", [], {"TAG": "1.0", "IMAGE": "hadal:cpu hadal:cpu-arm64"}),
    ("deploy", [], {"VARIANT": "other"}), ("deploy", [], {"MODEL_S3": "bucket"}), ("deploy", [], {"ROLE_ARN": ""}),
    ("deploy", [], {"MODEL_S3": "s3://bucket/model"}), ("deploy", [], {"VARIANT": "serverless"}),
    ("deploy", [], {"VARIANT": "async"}), ("update", [], {"TRAFFIC": "some"}), ("rollback", [], {}),
    ("rollback", ["1"], {}), ("async", [], {}), ("deploy", [], {"REVISION": "today"}), ("explode", [], {}),
]


def errors(line):
    service, verb, body = line.split(" ", 2)
    model = SESSION.get_service_model(service)
    names = {xform_name(n, "-"): n for n in model.operation_names}
    shape = model.operation_model(names[verb]).input_shape
    report = ParamValidator().validate(json.loads(body), shape)
    return report.generate_report() if report.has_errors() else ""


def run(verb, args, extra):
    env = {"PATH": os.environ["PATH"], **BASE, **extra}
    return subprocess.run([SCRIPT, "--dry-run", verb, "demo", *args], env=env, text=True, capture_output=True)


def calls(verb, args, extra):
    return {x.split(" ")[1]: json.loads(x.split(" ", 2)[2])
            for x in run(verb, args, extra).stdout.splitlines() if not x.startswith("#")}


def case(verb, args, extra, expected):
    done = run(verb, args, extra)
    lines = [x for x in done.stdout.splitlines() if not x.startswith("#")]
    if done.returncode or done.stderr:
        return done.stderr or f"exit status {done.returncode}"
    names = [x.split(" ")[1] for x in lines]
    return "".join(errors(x) for x in lines) or ("" if names == expected else f"calls {names}, expected {expected}")


def meaning():
    """What the service models cannot say: that the values are the right ones."""
    body = '{"inputs":"say \\"hi\\"\\n",\n "parameters":{}}'
    sent = calls("invoke", [body], {})["invoke-endpoint"]["Body"]
    assert json.loads(sent) == json.loads(body), sent
    sent = json.loads(calls("stream", [], {})["invoke-endpoint-with-response-stream"]["Body"])
    assert sent["stream"] is True and sent["inputs"], sent
    for instance, tag, ami in (("ml.c7i.xlarge", "cpu", None), ("ml.m7i.48xlarge", "cpu", None),
                               ("ml.c7g.xlarge", "cpu-arm64", None), ("ml.r6gd.4xlarge", "cpu-arm64", None),
                               ("ml.g5.xlarge", "cuda", "al2-ami-sagemaker-inference-gpu-2-1"),
                               ("ml.p5.48xlarge", "cuda", None)):
        made = calls("deploy", [], {"INSTANCE": instance})
        assert made["create-model"]["PrimaryContainer"]["Image"].endswith(":" + tag), (instance, made)
        variant = made["create-endpoint-config"]["ProductionVariants"][0]
        assert variant.get("InferenceAmiVersion") == ami, (instance, variant)
        assert variant["ModelName"] == made["create-model"]["ModelName"], made
    made = calls("update", [], {})
    policy = made["update-endpoint"]["DeploymentConfig"]
    assert policy["AutoRollbackConfiguration"]["Alarms"][0]["AlarmName"] == made["put-metric-alarm"]["AlarmName"]
    assert made["update-endpoint"]["EndpointConfigName"] == made["create-endpoint-config"]["EndpointConfigName"]


def pushes():
    """A tag for each processor; an index only over several, and beside them."""
    def told(extra):
        return [x[2:] for x in run("push", [], extra).stdout.splitlines() if x.startswith("# ")]
    at = "localhost:5000/demo"
    one = [f"docker tag hadal:cpu {at}:cpu", f"docker push {at}:cpu"]
    assert told({"REGISTRY": "localhost:5000", "IMAGE": "hadal:cpu"}) == one
    assert told({"REGISTRY": "localhost:5000", "TAG": "1.0"})[1] == f"docker push {at}:1.0"
    both = told({"REGISTRY": "localhost:5000"})
    assert both[:4] == [*one, f"docker tag hadal:cpu-arm64 {at}:cpu-arm64", f"docker push {at}:cpu-arm64"], both
    assert both[4:] == [f"docker manifest create {at}:cpu-all {at}:cpu {at}:cpu-arm64", f"docker manifest push {at}:cpu-all"], both
    assert told({"CONTAINER_TOOL": "podman"})[0] == "podman login 123456789012.dkr.ecr.us-east-1.amazonaws.com"


def references(node, found):
    """Names that Ref, GetAtt and Sub mention."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "Ref":
                found.add(value)
            elif key == "GetAtt":
                found.add(value.split(".")[0])
            elif key == "Sub":
                found.update(x.split(".")[0] for x in re.findall(r"\$\{([^}]*)\}", value))
            references(value, found)
    elif isinstance(node, list):
        for value in node:
            references(value, found)
    return found


def template(path):
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, tag, node: {tag: loader.construct_scalar(node)})
    parsed = yaml.load(path.read_text(), Loader)
    there = {*parsed["Parameters"], *parsed["Resources"]}
    used = {x for x in references(parsed, set()) if not x.startswith("AWS::")}
    assert used <= there, f"{path}: {used - there} is not there"
    assert set(parsed["Parameters"]) <= used, f"{path}: {set(parsed['Parameters']) - used} is not used"
    return parsed


def templates():
    """One list of rights, in the template and on its own; cfn-lint where it is installed."""
    try:
        parsed = [template(DOCKER / x) for x in ("cloudformation.yml", "lambda/template.yml")]
    except ImportError:
        print("skipped  templates: PyYAML is not installed")
        return
    role = parsed[0]["Resources"]["Role"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    policy = json.loads((DOCKER / "iam-policy.json").read_text())["Statement"]
    assert [(x["Sid"], x["Action"]) for x in role] == [(x["Sid"], x["Action"]) for x in policy]
    if shutil.which("cfn-lint"):
        subprocess.run(["cfn-lint", DOCKER / "cloudformation.yml", DOCKER / "lambda" / "template.yml"], check=True)
    print("ok       templates")


def instances():
    """Instances that pages, templates and aws.sh name are offered for endpoints."""
    offered = set(SESSION.get_service_model("sagemaker").shape_for("ProductionVariantInstanceType").enum)
    files = [*DOCKER.glob("*.md"), *DOCKER.glob("*.yml"), SCRIPT]
    named = {x for f in files for x in re.findall(r"\b(?:ml\.)?[cmr][78][ig]\.\d*x?large\b", f.read_text())}
    assert len(named) > 10, named
    wrong = {x for x in named if "ml." + x.removeprefix("ml.") not in offered}
    assert not wrong, f"not offered for endpoints: {wrong}"
    print(f"ok       {len(named)} instances named")


def main():
    failed = 0
    for verb, args, extra, expected in CASES:
        problem = case(verb, args, extra, expected)
        print(("FAILED  " if problem else "ok      "), verb, *args, extra, problem)
        failed += bool(problem)
    meaning()
    pushes()
    templates()
    instances()
    # The check itself must notice a misspelt field, and bad settings must be refused.
    assert errors('sagemaker create-endpoint {"EndpointName":"a","EndpointConfig":"a"}')
    for verb, args, extra in REFUSED:
        done = run(verb, args, extra)
        assert done.returncode == 64 and done.stderr.startswith("error: "), (verb, args, extra, done)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
