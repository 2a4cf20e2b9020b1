#!/bin/sh
# Push the image to ECR; deploy, update, invoke and delete an endpoint, with the AWS command line tool.
#
# Usage: docker/aws.sh [--dry-run] VERB NAME [...]
#   push NAME              create the repository, log in, tag, push: a tag per processor, and an index
#   deploy NAME            model, endpoint configuration, endpoint; waits until it is in service
#   update NAME            new model and configuration, then blue/green; an alarm on 5xx rolls it back
#   rollback NAME REVISION back to the configuration of an earlier deploy or update
#   invoke NAME [BODY]     one answer          stream NAME [BODY]  the same, as it is generated
#   async NAME [BODY]      through S3          delete NAME         everything that deploy and update made
# --dry-run prints the exact API calls, one line of "SERVICE OPERATION JSON" each, and makes none.
# From the environment:
#   AWS_REGION (us-east-1)    ACCOUNT (asked from STS)
#   IMAGE                     local images, one for each processor (push; hadal:cpu and hadal:cpu-arm64, those
#                             that are there; with TAG hadal:cpu)
#   INDEX (cpu-all)           tag of the index over them, made when there is more than one (push)
#   CONTAINER_TOOL (docker)   docker or podman    REGISTRY   another than ECR, logged in to already (push)
#   TAG (the image's tag; for deploy cpu, cpu-arm64 on Graviton, cuda on g and p)
#   ROLE_ARN                  the endpoint's role (deploy, update)
#   MODEL_S3                  s3://bucket/prefix/ with the model's files, uncompressed (deploy, update)
#   ENVIRONMENT ({})          the container's variables, a JSON object: '{"HADAL_WEIGHTS":"q4_k"}'
#   INSTANCE (ml.c7i.2xlarge) COUNT (1)    TIMEOUT (600, seconds of download and of start; 60 to 3600)
#   AMI                       InferenceAmiVersion (chosen for GPU families whose usual driver is too old)
#   VARIANT                   realtime, serverless or async: deploy, update
#   MODEL_TAR  MEMORY_MB (4096)  CONCURRENCY (2)     serverless      OUTPUT_S3  INPUT_S3     async
#   TRAFFIC (all, canary or linear)  BAKE (300, seconds before the old fleet goes)           update
#   REVISION (the time, 14 digits)   what names of models and configurations end with
set -eu
here=$(dirname "$0")
die() { echo "error: $*" >&2; exit 64; }
usage() { sed -n '2,28s/^# \{0,1\}//p' "$0"; }
dry=
[ "${1:-}" != --dry-run ] || { dry=1; shift; }
case ${1:-} in -h | --help) usage; exit 0 ;; esac
[ $# -ge 2 ] || { usage >&2; exit 64; }
verb=$1 name=$2
region=${AWS_REGION:-us-east-1}
case $name in *[!A-Za-z0-9-]* | -* | *-) die "NAME $name: expected letters, digits and single hyphens inside" ;; esac
[ ${#name} -le 48 ] || die "NAME $name: expected at most 48 characters"
REVISION=${REVISION:-$(date -u +%Y%m%d%H%M%S)}
is_revision() { case $1 in *[!0-9]*) return 1 ;; esac; [ ${#1} = 14 ]; }
is_revision "$REVISION" || die "REVISION $REVISION: expected 14 digits, such as 20261101120000"
made=$name-$REVISION # the model and the configuration

cli() { aws --region "$region" "$@"; }
# call SERVICE OPERATION JSON
call() {
    if [ -n "$dry" ]; then printf '%s %s %s\n' "$1" "$2" "$3"
    else cli "$1" "$2" --cli-input-json "$3"; fi
}
# text TEXT: as a JSON string
text() { printf '"%s"' "$(printf %s "$1" | tr '\n\r\t' '   ' | sed 's/\\/\\\\/g; s/"/\\"/g')"; }
# s3_prefix VARIABLE VALUE
s3_prefix() { case $2 in s3://?*/) ;; *) die "$1 '$2': expected s3://bucket/prefix/ with the slash at the end" ;; esac; }
repository() {
    account=${ACCOUNT:-}
    if [ -z "$account" ]; then
        if [ -n "$dry" ]; then account=123456789012
        else account=$(cli sts get-caller-identity --query Account --output text); fi
    fi
    registry=$account.dkr.ecr.$region.amazonaws.com
}

# does COMMAND...: on this machine
does() {
    if [ -n "$dry" ]; then echo "# $*"; else "$@"; fi
}
ecr() {
    repository
    create="{\"repositoryName\":\"$name\",\"imageScanningConfiguration\":{\"scanOnPush\":true}}"
    if [ -n "$dry" ]; then
        call ecr describe-repositories "{\"repositoryNames\":[\"$name\"]}"
        call ecr create-repository "$create"
        call ecr get-authorization-token '{}'
        echo "# $tool login $registry"
        return
    fi
    cli ecr describe-repositories --repository-names "$name" >/dev/null 2>&1 || call ecr create-repository "$create"
    cli ecr get-login-password | $tool login --username AWS --password-stdin "$registry"
}

# A tag is the manifest of one platform, because no page says that an endpoint picks its own from an
# index. The index is for whoever pulls by hand, and stands beside them.
# shellcheck disable=SC2086
push() {
    tool=${CONTAINER_TOOL:-docker} images=${IMAGE:-} registry=${REGISTRY:-} from='' index=''
    case $tool in podman*) from=docker:// ;; esac # lists what the registry holds, not what lies here
    [ -n "$images" ] || [ -z "${TAG:-}" ] || images=hadal:cpu
    [ -n "$images" ] || for image in hadal:cpu hadal:cpu-arm64; do
        if [ -n "$dry" ] || $tool image inspect $image >/dev/null 2>&1; then images="$images $image"; fi
    done
    set -- $images
    [ $# -gt 0 ] || die "neither hadal:cpu nor hadal:cpu-arm64 is there: build one, or set IMAGE"
    [ $# = 1 ] || [ -z "${TAG:-}" ] || die "TAG $TAG for $# images: expected one IMAGE"
    [ -n "$registry" ] || ecr
    for image in "$@"; do
        case $image in *:*) local_tag=${image##*:} ;; *) local_tag=latest ;; esac
        uri=$registry/$name:${TAG:-$local_tag}
        does $tool tag "$image" "$uri"
        does $tool push "$uri"
        index="$index $from$uri"
    done
    [ $# -gt 1 ] || return 0
    uri=$registry/$name:${INDEX:-cpu-all}
    [ -n "$dry" ] || $tool manifest rm "$uri" >/dev/null 2>&1 || true # of an earlier push
    does $tool manifest create "$uri" $index
    does $tool manifest push "$uri" ${from:+"$from$uri"}
    [ -n "$dry" ] || $tool manifest rm "$uri" >/dev/null 2>&1 || true # podman lists no images beside one that is elsewhere
}

# What the instance family decides: the image's tag, and the host's driver. Hosts of g4dn, g5, p4d and
# p4de have driver 470 unless asked, which no CUDA 12 program runs on.
by_family() {
    tag=cpu ami=${AMI:-}
    case ${INSTANCE:-ml.c7i.2xlarge} in
    ml.[cmr][0-9]g*) tag=cpu-arm64 ;;
    ml.g4dn.* | ml.g5.* | ml.p4d.* | ml.p4de.*) tag=cuda ami=${AMI:-al2-ami-sagemaker-inference-gpu-2-1} ;;
    ml.g[0-9]* | ml.p[0-9]*) tag=cuda ;;
    esac
}

# The model and the endpoint configuration of this revision.
configure() {
    [ -n "${ROLE_ARN:-}" ] || die "ROLE_ARN is not set"
    t=${TIMEOUT:-600}
    by_family
    repository
    variant="\"VariantName\":\"all\",\"ModelName\":\"$made\""
    instances=",\"InitialInstanceCount\":${COUNT:-1},\"InstanceType\":\"${INSTANCE:-ml.c7i.2xlarge}\",\"ModelDataDownloadTimeoutInSeconds\":$t,\"ContainerStartupHealthCheckTimeoutInSeconds\":$t"
    [ -z "$ami" ] || instances="$instances,\"InferenceAmiVersion\":\"$ami\""
    more=
    if [ "$kind" = serverless ]; then # takes no uncompressed prefix
        [ -n "${MODEL_TAR:-}" ] || die "VARIANT=serverless needs MODEL_TAR=s3://bucket/model.tar.gz"
        data="\"ModelDataUrl\":\"$MODEL_TAR\"" tag=cpu
        variant="$variant,\"ServerlessConfig\":{\"MemorySizeInMB\":${MEMORY_MB:-4096},\"MaxConcurrency\":${CONCURRENCY:-2}}"
    else
        s3_prefix MODEL_S3 "${MODEL_S3:-}"
        data="\"ModelDataSource\":{\"S3DataSource\":{\"S3Uri\":\"$MODEL_S3\",\"S3DataType\":\"S3Prefix\",\"CompressionType\":\"None\"}}"
        variant=$variant$instances
    fi
    if [ "$kind" = async ]; then
        s3_prefix OUTPUT_S3 "${OUTPUT_S3:-}"
        more=",\"AsyncInferenceConfig\":{\"OutputConfig\":{\"S3OutputPath\":\"${OUTPUT_S3}answers/\",\"S3FailurePath\":\"${OUTPUT_S3}failures/\"}}"
    fi
    call sagemaker create-model "{\"ModelName\":\"$made\",\"ExecutionRoleArn\":\"$ROLE_ARN\",\"PrimaryContainer\":{\"Image\":\"$registry/$name:${TAG:-$tag}\",$data,\"Environment\":${ENVIRONMENT:-"{}"}}}"
    call sagemaker create-endpoint-config "{\"EndpointConfigName\":\"$made\",\"ProductionVariants\":[{$variant}]$more}"
}

wait_in_service() {
    [ -z "$dry" ] || return 0
    cli sagemaker wait endpoint-in-service --endpoint-name "$name" || {
        cli sagemaker describe-endpoint --endpoint-name "$name" --query FailureReason --output text >&2
        echo "error: $name is not in service; the log group is /aws/sagemaker/Endpoints/$name" >&2
        exit 1
    }
}

deploy() {
    configure
    call sagemaker create-endpoint "{\"EndpointName\":\"$name\",\"EndpointConfigName\":\"$made\"}"
    wait_in_service
}

# The new fleet starts beside the old one, takes the traffic when it is healthy, and the old fleet stays
# for BAKE seconds more. A fleet that does not start, or the alarm in that time, brings the old one back.
update() {
    bake=${BAKE:-300} steps=1 size=
    case ${TRAFFIC:-all} in
    all) type=ALL_AT_ONCE ;;
    canary) type=CANARY steps=2 size=',"CanarySize":{"Type":"CAPACITY_PERCENT","Value":25}' ;;
    linear) type=LINEAR steps=4 size=',"LinearStepSize":{"Type":"CAPACITY_PERCENT","Value":25}' ;;
    *) die "TRAFFIC $TRAFFIC: expected all, canary or linear" ;;
    esac
    configure
    guard=
    if [ "$kind" != serverless ]; then
        most=$((2 * t + (steps + 1) * bake + 900))
        [ $most -le 28800 ] || most=28800
        call cloudwatch put-metric-alarm "{\"AlarmName\":\"$name-5xx\",\"Namespace\":\"AWS/SageMaker\",\"MetricName\":\"Invocation5XXErrors\",\"Dimensions\":[{\"Name\":\"EndpointName\",\"Value\":\"$name\"},{\"Name\":\"VariantName\",\"Value\":\"all\"}],\"Statistic\":\"Sum\",\"Period\":60,\"EvaluationPeriods\":1,\"Threshold\":5,\"ComparisonOperator\":\"GreaterThanOrEqualToThreshold\",\"TreatMissingData\":\"notBreaching\"}"
        guard=",\"RetainAllVariantProperties\":true,\"DeploymentConfig\":{\"BlueGreenUpdatePolicy\":{\"TrafficRoutingConfiguration\":{\"Type\":\"$type\",\"WaitIntervalInSeconds\":$bake$size},\"TerminationWaitInSeconds\":$bake,\"MaximumExecutionTimeoutInSeconds\":$most},\"AutoRollbackConfiguration\":{\"Alarms\":[{\"AlarmName\":\"$name-5xx\"}]}}"
    fi
    if [ -z "$dry" ]; then
        before=$(cli sagemaker describe-endpoint --endpoint-name "$name" --query EndpointConfigName --output text)
        echo "to go back: $0 rollback $name ${before##*-}"
    fi
    call sagemaker update-endpoint "{\"EndpointName\":\"$name\",\"EndpointConfigName\":\"$made\"$guard}"
    wait_in_service
    [ -n "$dry" ] || {
        now=$(cli sagemaker describe-endpoint --endpoint-name "$name" --query EndpointConfigName --output text)
        [ "$now" = "$made" ] || { echo "error: $name went back to $now" >&2; exit 1; }
    }
}

rollback() {
    is_revision "${1:-}" || die "rollback needs the REVISION to go back to: 14 digits"
    call sagemaker update-endpoint "{\"EndpointName\":\"$name\",\"EndpointConfigName\":\"$name-$1\"}"
    wait_in_service
}

body=${3:-'{"inputs":"The capital of France is"}'}
request() { printf '{"EndpointName":"%s","ContentType":"application/json","Body":%s}' "$name" "$(text "$1")"; }

invoke() {
    if [ -n "$dry" ]; then
        call sagemaker-runtime invoke-endpoint "$(request "$body")"
    else
        files=$(mktemp -d)
        trap 'rm -rf "$files"' EXIT
        printf %s "$body" >"$files/in" # a file is sent as it is by versions 1 and 2 of the tool
        cli sagemaker-runtime invoke-endpoint --endpoint-name "$name" --content-type application/json \
            --body "fileb://$files/in" "$files/out" >/dev/null
        cat "$files/out"
    fi
}

# The command line tool has no streaming calls; boto3 has.
stream() {
    case $body in
    *'"stream"'*) ;;
    *) body="$(printf %s "$body" | sed 's/}[[:space:]]*$//'),\"stream\":true}" ;;
    esac
    if [ -n "$dry" ]; then
        call sagemaker-runtime invoke-endpoint-with-response-stream "$(request "$body")"
    else
        AWS_DEFAULT_REGION=$region exec python3 "$here/stream.py" "$name" "$body"
    fi
}

async() {
    s3_prefix INPUT_S3 "${INPUT_S3:-}"
    input=${INPUT_S3}$REVISION.json
    ask="{\"EndpointName\":\"$name\",\"ContentType\":\"application/json\",\"InputLocation\":\"$input\",\"InvocationTimeoutSeconds\":3600}"
    if [ -n "$dry" ]; then
        where=${input#s3://}
        call s3 put-object "{\"Bucket\":\"${where%%/*}\",\"Key\":\"${where#*/}\",\"ContentType\":\"application/json\",\"Body\":$(text "$body")}"
        call sagemaker-runtime invoke-endpoint-async "$ask"
        return
    fi
    printf %s "$body" | cli s3 cp --content-type application/json - "$input" >/dev/null
    places=$(cli sagemaker-runtime invoke-endpoint-async --cli-input-json "$ask" \
        --query '[OutputLocation,FailureLocation]' --output text | tr '\t' ' ')
    answer=${places%% *} failure=${places#* }
    echo "answer: $answer, or the error: $failure" >&2
    where=${answer#s3://}
    cli s3api wait object-exists --bucket "${where%%/*}" --key "${where#*/}" || {
        echo "error: no answer yet: look again later, or at $failure" >&2
        exit 1
    }
    cli s3 cp "$answer" -
}

# names OPERATION LIST FIELD: those of this endpoint
names() {
    if [ -n "$dry" ]; then echo "$made"; return; fi
    cli sagemaker "$1" --name-contains "$name-" --query "$2[].$3" --output text | tr '\t' '\n' |
        grep -E "^$name-[0-9]{14}\$" || true
}

# Goes on where something is missing, so that it also clears what an interrupted deploy left.
delete() {
    failed=0
    call sagemaker delete-endpoint "{\"EndpointName\":\"$name\"}" || failed=1
    [ -z "$dry" ] || call sagemaker list-endpoint-configs "{\"NameContains\":\"$name-\"}"
    for x in $(names list-endpoint-configs EndpointConfigs EndpointConfigName); do
        call sagemaker delete-endpoint-config "{\"EndpointConfigName\":\"$x\"}" || failed=1
    done
    [ -z "$dry" ] || call sagemaker list-models "{\"NameContains\":\"$name-\"}"
    for x in $(names list-models Models ModelName); do
        call sagemaker delete-model "{\"ModelName\":\"$x\"}" || failed=1
    done
    # An alarm is there once update has run.
    if [ -n "$dry" ] || [ "$(cli cloudwatch describe-alarms --alarm-names "$name-5xx" --query 'length(MetricAlarms)')" != 0 ]; then
        call cloudwatch delete-alarms "{\"AlarmNames\":[\"$name-5xx\"]}" || failed=1
    fi
    return $failed
}

kind=${VARIANT:-realtime}
case $kind in realtime | serverless | async) ;; *) die "VARIANT $kind: expected realtime, serverless or async" ;; esac
case $verb in
push | deploy | update | invoke | stream | async | delete) $verb ;;
rollback) rollback "${3:-}" ;;
*) die "unknown command $verb: expected push, deploy, update, rollback, invoke, stream, async or delete" ;;
esac
