// The function's surroundings on this machine: an HTTP server that calls the handler as the platform
// does. For trying it and for its test; not part of what is deployed.
//
//   ENDPOINT=any AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=http://127.0.0.1:8081 AWS_REGION=us-east-1 \
//   AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x node local.mjs [PORT]
import http from "node:http";

globalThis.awslambda = {
    streamifyResponse: (f) => f,
    HttpResponseStream: {
        from(stream, { statusCode, headers }) {
            stream.writeHead(statusCode, headers);
            return stream;
        },
    },
};
const { handler } = await import("./index.mjs");

async function serve(request, response) {
    const parts = [];
    for await (const part of request) parts.push(part);
    const event = { // of a function URL
        version: "2.0", rawPath: request.url, headers: request.headers, isBase64Encoded: true,
        requestContext: { http: { method: request.method, path: request.url } },
        body: Buffer.concat(parts).toString("base64"),
    };
    await handler(event, response, {});
}

const server = http.createServer((request, response) => serve(request, response).catch((e) => {
    console.error(e);
    response.destroy();
}));
server.listen(Number(process.argv[2] ?? 8082), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
