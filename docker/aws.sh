#!/bin/sh
# Push the image to ECR, deploy, invoke and delete an endpoint, with the AWS command line tool.
#
# Usage: docker/aws.sh [--dry-run] push NAME | deploy NAME | invoke NAME [BODY] | delete NAME
#   --dry-run prints the exact API calls, one line of "SERVICE OPERATION JSON" each, and makes none.
# From the environment:
#   AWS_REGION (us-east-1)  ACCOUNT (asked from STS)  IMAGE (hadal:cpu, the local image)
#   ROLE_ARN                the endpoint's role (deploy)
#   MODEL_S3                s3://bucket/prefix/ with the model's files, uncompressed (deploy)
#   INSTANCE (ml.c7i.2xlarge)   TIMEOUT (600, seconds of download and of start; 60 to 3600)
#   VARIANT (realtime, serverless or async)   MEMORY_MB (4096, serverless)   OUTPUT_S3 (async)
set -eu
die() { echo "error: $*" >&2; exit 64; }
usage() { sed -n '2,11s/^# \{0,1\}//p' "$0"; }
dry=
[ "${1:-}" != --dry-run ] || { dry=1; shift; }
case ${1:-} in -h | --help) usage; exit 0 ;; esac
[ $# -ge 2 ] || { usage >&2; exit 64; }
verb=$1 name=$2 body=${3:-'{"inputs":"The capital of France is"}'}
region=${AWS_REGION:-us-east-1}
case $name in *[!A-Za-z0-9-]* | -*) die "NAME $name: expected letters, digits and hyphens" ;; esac

# call SERVICE OPERATION JSON
call() {
    if [ -n "$dry" ]; then
        printf '%s %s %s\n' "$1" "$2" "$3"
    else
        aws --region "$region" "$1" "$2" --cli-input-json "$3"
    fi
}
account=${ACCOUNT:-}
if [ -z "$account" ]; then
    if [ -n "$dry" ]; then account=123456789012
    else account=$(aws sts get-caller-identity --query Account --output text); fi
fi
host=$account.dkr.ecr.$region.amazonaws.com
uri=$host/$name:latest

push() {
    local_image=${IMAGE:-hadal:cpu}
    if [ -n "$dry" ]; then
        call ecr create-repository "{\"repositoryName\":\"$name\",\"imageScanningConfiguration\":{\"scanOnPush\":true}}"
        call ecr get-authorization-token '{}'
        printf '# docker tag %s %s; docker push %s\n' "$local_image" "$uri" "$uri"
        return
    fi
    aws --region "$region" ecr describe-repositories --repository-names "$name" >/dev/null 2>&1 ||
        call ecr create-repository "{\"repositoryName\":\"$name\",\"imageScanningConfiguration\":{\"scanOnPush\":true}}"
    aws --region "$region" ecr get-login-password | docker login --username AWS --password-stdin "$host"
    docker tag "$local_image" "$uri"
    docker push "$uri"
}

deploy() {
    [ -n "${ROLE_ARN:-}" ] || die "ROLE_ARN is not set"
    [ -n "${MODEL_S3:-}" ] || die "MODEL_S3 is not set"
    case $MODEL_S3 in s3://*/) ;; *) die "MODEL_S3 $MODEL_S3: expected s3://bucket/prefix/" ;; esac
    t=${TIMEOUT:-600}
    real="\"VariantName\":\"all\",\"ModelName\":\"$name\",\"InitialInstanceCount\":1,\"InstanceType\":\"${INSTANCE:-ml.c7i.2xlarge}\",\"ModelDataDownloadTimeoutInSeconds\":$t,\"ContainerStartupHealthCheckTimeoutInSeconds\":$t"
    source="\"ModelDataSource\":{\"S3DataSource\":{\"S3Uri\":\"$MODEL_S3\",\"S3DataType\":\"S3Prefix\",\"CompressionType\":\"None\"}}"
    more=
    case ${VARIANT:-realtime} in
    realtime) variant=$real ;;
    serverless) # takes no uncompressed prefix: MODEL_TAR names a model.tar.gz instead
        [ -n "${MODEL_TAR:-}" ] || die "VARIANT=serverless needs MODEL_TAR=s3://bucket/model.tar.gz"
        source="\"ModelDataUrl\":\"$MODEL_TAR\""
        variant="\"VariantName\":\"all\",\"ModelName\":\"$name\",\"ServerlessConfig\":{\"MemorySizeInMB\":${MEMORY_MB:-4096},\"MaxConcurrency\":2}" ;;
    async)
        [ -n "${OUTPUT_S3:-}" ] || die "VARIANT=async needs OUTPUT_S3=s3://bucket/prefix/"
        variant=$real
        more=",\"AsyncInferenceConfig\":{\"OutputConfig\":{\"S3OutputPath\":\"$OUTPUT_S3\"}}" ;;
    *) die "VARIANT ${VARIANT}: expected realtime, serverless or async" ;;
    esac
    call sagemaker create-model "{\"ModelName\":\"$name\",\"ExecutionRoleArn\":\"$ROLE_ARN\",\"PrimaryContainer\":{\"Image\":\"$uri\",$source}}"
    call sagemaker create-endpoint-config "{\"EndpointConfigName\":\"$name\",\"ProductionVariants\":[{$variant}]$more}"
    call sagemaker create-endpoint "{\"EndpointName\":\"$name\",\"EndpointConfigName\":\"$name\"}"
    [ -n "$dry" ] || aws --region "$region" sagemaker wait endpoint-in-service --endpoint-name "$name"
}

invoke() {
    if [ -n "$dry" ]; then
        quoted=$(printf %s "$body" | sed 's/\\/\\\\/g; s/"/\\"/g')
        call sagemaker-runtime invoke-endpoint "{\"EndpointName\":\"$name\",\"ContentType\":\"application/json\",\"Body\":\"$quoted\"}"
    else
        aws --region "$region" sagemaker-runtime invoke-endpoint --endpoint-name "$name" \
            --content-type application/json --cli-binary-format raw-in-base64-out --body "$body" /dev/stdout
    fi
}

delete() {
    call sagemaker delete-endpoint "{\"EndpointName\":\"$name\"}"
    call sagemaker delete-endpoint-config "{\"EndpointConfigName\":\"$name\"}"
    call sagemaker delete-model "{\"ModelName\":\"$name\"}"
}

case $verb in
push | deploy | invoke | delete) $verb ;;
*) die "unknown command $verb: expected push, deploy, invoke or delete" ;;
esac
