"""/metrics: Prometheus text, under our names and vLLM's."""
import re
import time

import kit
from kit import Server, test

LINE = re.compile(r'^[a-zA-Z_:][a-zA-Z0-9_:]*\{([a-z_]+="(?:[^"\\\n]|\\["\\n])*")(,[a-z_]+="(?:[^"\\\n]|\\["\\n])*")*\} '
                  r'(-?[0-9][0-9.e+-]*|NaN|\+Inf)$')
TIMES = {"vllm:time_to_first_token_seconds": "hadal_time_to_first_token_seconds",
         "vllm:inter_token_latency_seconds": "hadal_inter_token_seconds",
         "vllm:request_time_per_output_token_seconds": "hadal_time_per_output_token_seconds",
         "vllm:e2e_request_latency_seconds": "hadal_request_seconds",
         "vllm:request_queue_time_seconds": "hadal_queue_seconds",
         "vllm:request_prefill_time_seconds": "hadal_prefill_seconds",
         "vllm:request_decode_time_seconds": "hadal_decode_seconds",
         "vllm:request_inference_time_seconds": "hadal_inference_seconds",
         "vllm:request_prompt_tokens": "hadal_prompt_tokens",
         "vllm:request_generation_tokens": "hadal_generation_tokens"}


def lint(text):
    """Checks the text format; returns {name: type}."""
    types = {}
    seen = set()
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types and kind in ("counter", "gauge", "histogram"), line
            types[name] = kind
        elif line.startswith("# HELP "):
            assert len(line.split(" ", 3)) == 4, line
        else:
            assert LINE.match(line), line
            series = line.rpartition(" ")[0]
            assert series not in seen, line
            seen.add(series)
            name = series.partition("{")[0]
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in types or types.get(base) == "histogram", line
            assert types.get(name) != "counter" or name.endswith("_total"), line
    return types


def check_histograms(text):
    buckets = {}
    for name, labels, value in re.findall(r"^(\S+)_bucket\{(.*)\} (\S+)$", text, re.M):
        bound = re.search(r'le="([^"]*)"', labels)[1]
        buckets.setdefault(name, []).append((float(bound.replace("+Inf", "inf")), float(value)))
    for name, rows in buckets.items():
        assert rows == sorted(rows) and rows[-1][0] == float("inf"), name
        assert all(a[1] <= b[1] for a, b in zip(rows, rows[1:])), name
        count = float(re.search(rf"^{re.escape(name)}_count\{{.*\}} (\S+)$", text, re.M)[1])
        assert count == rows[-1][1], name
    return buckets


@test(own=True)
def SM_175_prometheus_text_also_while_loading(_):
    with Server(wait=False) as s:
        a = s.request("GET", "/metrics")
        assert a.status == 200 and a.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lint(a.body.decode())
        s.wait_ready()
        a = s.request("GET", "/metrics")
        lint(a.body.decode())
        assert len(a.body) < 1 << 20 and int(a.headers["Content-Length"]) == len(a.body)
        assert s.metric("hadal_ready") == 1 and s.metric("hadal_load_progress") == 1
        assert s.request("POST", "/metrics").status == 405


@test(own=True)
def SM_176_vllm_names_count_what_happened(_):
    with Server("--served-name", 'na"me\\') as s:
        before = s.metrics()
        s.post({"prompt": "One two three", "max_tokens": 5, "ignore_eos": True})
        s.events({"prompt": "Four", "max_tokens": 7, "ignore_eos": True, "stream": True})
        usage = s.post({"prompt": "One two three", "max_tokens": 1}).json["usage"]
        a = s.request("GET", "/metrics").body.decode()
        types = lint(a)
        check_histograms(a)
        assert 'model_name="na\\"me\\\\",engine="0"' in a
        for vllm, own in TIMES.items():
            assert types[vllm] == types[own] == "histogram", vllm
        for name in ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"):
            assert types[name] == "gauge" and s.metric(name) == 0, name
        assert s.metric("vllm:generation_tokens_total") == 5 + 7 + 1
        assert s.metric("vllm:prompt_tokens_total") >= 2 * usage["prompt_tokens"]
        assert s.metric("vllm:request_success_total", finished_reason="length") == 3
        assert s.metric("vllm:time_to_first_token_seconds_count") == 3
        assert s.metric("vllm:inter_token_latency_seconds_count") == 4 + 6
        assert s.metric("vllm:e2e_request_latency_seconds_count") == 3
        assert s.metric("vllm:request_queue_time_seconds_count") == 3
        assert s.metric("vllm:request_generation_tokens_sum") == 13
        e2e, ttft = (s.metric(f"vllm:{n}_seconds_sum") for n in ("e2e_request_latency", "time_to_first_token"))
        assert 0 < ttft < e2e, (ttft, e2e)
        after = s.metrics()
        counters = [k for k in after if k.partition("{")[0].endswith(("_total", "_count", "_bucket"))]
        assert all(after[k] >= before.get(k, 0) for k in counters)


@test(own=True)
def SM_176_names_of_others_can_be_switched_off(_):
    with Server(env={"HADAL_METRICS_COMPAT": "none"}) as s:
        text = s.request("GET", "/metrics").body.decode()
        assert "vllm:" not in text and "hadal_time_to_first_token_seconds_bucket" in text


@test(own=True)
def SM_177_own_series_of_refusals_and_cancellations(_):
    with Server("--max-context", "4096") as s:
        for name in ("hadal_load_seconds", "hadal_threads", "hadal_memory_bytes", "hadal_info", "hadal_kv_pages",
                     "hadal_resident_bytes"):
            assert s.metric(name) > 0, name
        assert s.post({"prompt": 3}).status == 400
        assert s.post({"inputs": ""}).status == 422
        assert s.metric("hadal_refused_total", status="400") == 1
        assert s.metric("hadal_refused_total", status="422") == 1
        with s.socket(60) as c:
            c.sendall(kit.post_bytes({**kit.LONG, "stream": True}))
            kit.read_until(c, b"data: ")
            assert s.metric("hadal_requests_running") == 1
        end = time.monotonic() + 5 * kit.SLOW
        while s.metric("hadal_requests_cancelled_total") != 1:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert s.metric("hadal_finished_total", reason="abort") == 1


@test(own=True)
def SM_77_probes_are_not_traffic(_):
    with Server() as s:
        before = s.metrics()
        for _ in range(100):
            s.request("GET", "/ping")
        after = s.metrics()
        assert all(after[k] == v for k, v in before.items()
                   if k.startswith(("vllm:", "hadal_requests", "hadal_refused", "hadal_request_seconds")))


@test
def SM_21_175_metrics_answer_under_load(s):
    slowest = kit.slowest_while_busy(s, "/metrics")
    assert slowest < 1 * kit.SLOW, slowest


@test(own=True)
def SM_40_secrets_are_nowhere(_):
    names = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN", "API_KEY", "AWS_SECRET_ACCESS_KEY",
             "AWS_SESSION_TOKEN", "SM_VLLM_API_KEY", "HADAL_API_KEY")
    with Server("--log-level", "debug", env={n: f"canary-{n}" for n in names}) as s:
        key = {"Authorization": "Bearer canary-HADAL_API_KEY"}
        seen = [s.request("GET", "/metrics").body, s.request("GET", "/info", headers=key).body,
                s.post({"prompt": 3}).body, s.request("GET", "/v1/models").body,
                s.request("GET", "/v1/models", headers=key).body,
                open(f"/proc/{s.process.pid}/cmdline", "rb").read()]
        s.signal()
        s.wait_exit()
        assert not any(b"canary" in x for x in seen), seen
        assert "canary" not in s.log()
