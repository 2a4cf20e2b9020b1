// The front door: an HTTP request in, the endpoint's answer out as it comes. One AWS Lambda function
// behind a function URL or API Gateway, both in response streaming mode. It keeps no state, checks no
// keys (the door before it does) and knows nothing of dialects: bodies go through as they are, and
// "stream": true decides which call is made.
import { RuntimeError, invoke, invokeStream } from "./sagemaker.mjs";

const BODY_LIMIT = 6 * 1024 * 1024; // what a function takes

function bodyOf(event) {
    const method = event.requestContext?.http?.method ?? event.httpMethod;
    if (method !== "POST") throw new RuntimeError(405, "MethodNotAllowed", { Message: `${method}: expected POST` });
    const body = Buffer.from(event.body ?? "", event.isBase64Encoded ? "base64" : "utf8");
    if (body.length > BODY_LIMIT)
        throw new RuntimeError(413, "TooLarge", { Message: `the body has ${body.length} bytes, at most ${BODY_LIMIT} are allowed` });
    return body;
}

function wantsStream(body) {
    try {
        return JSON.parse(body)?.stream === true;
    } catch {
        return false; // the model's own message about it is better than ours
    }
}

const asJson = (e, code) => JSON.stringify({ error: { message: e.message, type: e.type ?? e.name, code } });

function begin(out, status, type) {
    return awslambda.HttpResponseStream.from(out, {
        statusCode: status, headers: { "Content-Type": type, "Cache-Control": "no-cache" },
    });
}

// Waits where the caller reads slowly.
async function write(out, bytes) {
    if (bytes.length && !out.write(bytes))
        await new Promise((go) => { out.once("drain", go); out.once("close", go); });
}

async function relay(parts, out) {
    try {
        for await (const part of parts) await write(out, part);
    } catch (e) { // the status is gone: say it in the stream
        await write(out, `data: ${asJson(e, 502)}\n\n`);
    }
}

export const handler = awslambda.streamifyResponse(async (event, stream) => {
    const gone = new AbortController(); // a caller that leaves ends the generation
    stream.once("close", () => gone.abort());
    const { ENDPOINT } = process.env;
    let out = stream;
    try {
        const body = bodyOf(event);
        if (wantsStream(body)) {
            const { type, parts } = await invokeStream(ENDPOINT, body, gone.signal);
            out = begin(stream, 200, type ?? "text/event-stream");
            await relay(parts, out);
        } else {
            const answer = await invoke(ENDPOINT, body, gone.signal);
            out = begin(stream, 200, answer.type ?? "application/json");
            await write(out, answer.body);
        }
    } catch (e) {
        if (gone.signal.aborted) return;
        // What the model refused comes back as it said it; a model that said nothing ran out of time.
        const status = e.model?.status ?? (e.type === "ModelError" ? 504 : e.status ?? 502);
        out = begin(stream, status, "application/json");
        await write(out, e.model?.body || asJson(e, status));
    }
    out.end();
});
