// Two calls of the SageMaker runtime API, signed, over fetch: InvokeEndpoint and its streaming sister.
// Nothing to bundle and nothing to keep up to date. Checksums of stream messages are not verified: TLS
// has done that.
import { createHash, createHmac } from "node:crypto";

const hash = (data) => createHash("sha256").update(data).digest("hex");
const mac = (key, text) => createHmac("sha256", key).update(text).digest();

// Headers of a POST with Signature Version 4; `now` is a Date.
export function sign(url, body, { accessKeyId, secretAccessKey, sessionToken, region }, now) {
    const time = now.toISOString().replace(/[-:]|\.\d+/g, "");
    const scope = `${time.slice(0, 8)}/${region}/sagemaker/aws4_request`;
    const headers = { "content-type": "application/json", host: url.host, "x-amz-date": time };
    if (sessionToken) headers["x-amz-security-token"] = sessionToken;
    const names = Object.keys(headers).sort();
    const canonical = ["POST", url.pathname, "", ...names.map((n) => `${n}:${headers[n]}`), "", names.join(";"), hash(body)];
    const text = ["AWS4-HMAC-SHA256", time, scope, hash(canonical.join("\n"))].join("\n");
    const key = scope.split("/").reduce((k, part) => mac(k, part), `AWS4${secretAccessKey}`);
    headers.authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names.join(";")}, ` +
        `Signature=${mac(key, text).toString("hex")}`;
    return headers;
}

// An answer that is no answer: `type` is the service's name for it, `model` what the container said.
export class RuntimeError extends Error {
    constructor(status, type, { Message, message, OriginalStatusCode, OriginalMessage }) {
        super(Message ?? message ?? type);
        this.status = status;
        this.type = type;
        this.model = OriginalStatusCode ? { status: OriginalStatusCode, body: OriginalMessage ?? "" } : null;
    }
}

async function post(operation, endpoint, body, signal) {
    const e = process.env;
    const region = e.AWS_REGION;
    const base = e.AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME ?? `https://runtime.sagemaker.${region}.amazonaws.com`;
    const url = new URL(`/endpoints/${endpoint}/${operation}`, base);
    const keys = { accessKeyId: e.AWS_ACCESS_KEY_ID, secretAccessKey: e.AWS_SECRET_ACCESS_KEY, sessionToken: e.AWS_SESSION_TOKEN, region };
    const { host, ...headers } = sign(url, body, keys, new Date()); // fetch sets Host itself
    const answer = await fetch(url, { method: "POST", headers, body, signal });
    if (answer.ok) return answer;
    const text = await answer.text();
    let said = { Message: text };
    try {
        said = JSON.parse(text);
    } catch { /* not JSON: the text itself */ }
    throw new RuntimeError(answer.status, (answer.headers.get("x-amzn-errortype") ?? "Error").split(":")[0], said);
}

export async function invoke(endpoint, body, signal) {
    const answer = await post("invocations", endpoint, body, signal);
    return { type: answer.headers.get("content-type"), body: Buffer.from(await answer.arrayBuffer()) };
}

// The string headers of one message; the service sends no other kind.
function stringHeaders(bytes) {
    const out = {};
    for (let at = 0; at < bytes.length;) {
        const name = bytes.toString("utf8", at + 1, at + 1 + bytes[at]);
        at += 1 + bytes[at];
        if (bytes[at] !== 7) throw new RuntimeError(502, "StreamFormat", { Message: `header ${name} has type ${bytes[at]}` });
        const n = bytes.readUInt16BE(at + 1);
        out[name] = bytes.toString("utf8", at + 3, at + 3 + n);
        at += 3 + n;
    }
    return out;
}

// Payloads of a stream of messages cut anywhere: total length, length of headers, checksum, headers,
// payload, checksum.
export async function* payloads(chunks) {
    let held = Buffer.alloc(0);
    for await (const chunk of chunks) {
        held = Buffer.concat([held, chunk]);
        while (held.length >= 16 && held.length >= held.readUInt32BE(0)) {
            const total = held.readUInt32BE(0), middle = 12 + held.readUInt32BE(4);
            if (middle + 4 > total) throw new RuntimeError(502, "StreamFormat", { Message: `lengths ${total} and ${middle}` });
            const headers = stringHeaders(held.subarray(12, middle));
            const payload = held.subarray(middle, total - 4);
            held = held.subarray(total);
            if (headers[":message-type"] === "event") {
                yield payload;
            } else {
                const type = headers[":exception-type"] ?? headers[":error-code"] ?? "StreamError";
                const said = payload.length ? JSON.parse(payload.toString()) : { Message: headers[":error-message"] };
                throw new RuntimeError(502, type, said);
            }
        }
    }
    if (held.length) throw new RuntimeError(502, "StreamBroken", { Message: "the stream ended inside a message" });
}

export async function invokeStream(endpoint, body, signal) {
    const answer = await post("invocations-response-stream", endpoint, body, signal);
    return { type: answer.headers.get("x-amzn-sagemaker-content-type"), parts: payloads(answer.body) };
}
