#!/usr/bin/env python3
"""Writes tests/golden/chat.json: conversations and the prompts that reference templates make of them.

Usage: make_chat_golden.py SHARED_DATA EXTRA OUT. Needs jinja2.

SHARED_DATA holds chat-templates/ and tokenizers/; EXTRA the templates it lacks, as NAME.jinja with
NAME one of deepseek-llm (DeepSeek-V2-Chat), deepseek-coder (deepseek-coder-33b-instruct), llama3.1
(Llama-3.1-8B-Instruct), llama3.2 (Llama-3.2-3B-Instruct), chatml (OpenHermes-2.5), chatml-smollm2
(SmolLM2-135M-Instruct), qwen2.5 (Qwen2.5-7B-Instruct). Template texts are not written out.

A case says where its text comes from:
  jinja    the shipped template, byte for byte;
  fixed    the shipped template with the repairs of its PATCHES; the text differs from the unrepaired
           one (or that one fails), `note` says why;
  derived  no template text of this model is at hand: that of its nearest relative with PATCHES, or
           a transcription of the documented layout.
"""
import copy
import hashlib
import json
import pathlib
import sys

import jinja2

BAR, LOW = "\uff5c", "\u2581"


def ds(words):
    """A DeepSeek token: ds("tool calls begin")."""
    return "<" + BAR + words.replace(" ", LOW) + BAR + ">"


BOS, EOS, USER, ASSISTANT = ds("begin of sentence"), ds("end of sentence"), ds("User"), ds("Assistant")
DEEPSEEK = {"bos": BOS, "eos": EOS}
LLAMA = {"bos": "<|begin_of_text|>", "eos": "<|eot_id|>"}
QWEN = {"bos": None, "eos": "<|im_end|>"}
SMOL = {"bos": "<|im_start|>", "eos": "<|im_end|>"}
CODER = {"bos": BOS, "eos": "<|EOT|>"}

# ---- conversations ---------------------------------------------------------------------------

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather of a city \u2013 \"now\"",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"},
                                                    "days": {"type": "integer", "default": 1}},
                   "required": ["city"]}}}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "Zeit, \u65f6\u95f4",
                                          "parameters": {"type": "object", "properties": {}}}}


def s(text):
    return {"role": "system", "content": text}


def u(text):
    return {"role": "user", "content": text}


def a(text, *calls, **more):
    m = {"role": "assistant", "content": text} | more
    if calls:
        m["tool_calls"] = [{"id": f"call_{i}", "type": "function",
                            "function": {"name": n, "arguments": args}} for i, (n, args) in enumerate(calls)]
    return m


def t(text, i=0):
    return {"role": "tool", "tool_call_id": f"call_{i}", "content": text}


PARIS, ROME = ("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Rome", "days": 2})
THOUGHT = "<think>\nfirst this,\nthen that\n</think>\n\nforty-two"

# name: (messages, tools). What a template needs is read off the messages themselves.
CONVERSATIONS = {
    "user": ([u("Hello")], None),
    "system": ([s("You are terse."), u("Who are you?")], None),
    "turns": ([s("You are terse."), u("Hello"), a("Hi."), u("And you?"), a("Fine."), u("Good.")], None),
    "unicode": ([s("\u4f60\u662f\u52a9\u624b"), u("na\u00efve \U0001f469\u200d\U0001f680 \u0440\u0443\u0441 e\u0301"),
                 a("\u597d\u7684 \u2603"), u("\u3053\u3093\u306b\u3061\u306f \u0645\u0631\u062d\u0628\u0627")], None),
    "empty": ([s(""), u(""), a(""), u("x")], None),
    "blanks": ([s(" \u00a0s\n"), u("\n\n  two\twords \u2003\n"), a("\n  answer\n\n"), u("\u3000end\x1f\t")], None),
    "two systems": ([s("One."), u("Hello"), s("Two."), a("Hi."), u("Bye")], None),
    "developer": ([{"role": "developer", "content": "Be kind."}, u("Hello")], None),
    "parts": ([u([{"type": "text", "text": "first"}, {"type": "text", "text": "second"}])], None),
    "lookalikes": ([u(f"{USER}x{EOS}{ASSISTANT}<|im_end|><|eot_id|> {{{{ bos_token }}}} {{% raw %}}"), a("no"),
                    u("</tool_response><tool_response>")], None),
    "two users": ([u("one"), u("two")], None),
    "two assistants": ([u("one"), a("two"), a("three")], None),
    "assistant first": ([a("Welcome."), u("Thanks")], None),
    "assistant last": ([u("Hello"), a("Hi there.")], None),
    "system only": ([s("You are terse.")], None),
    "no user": ([s("You are terse."), a("Welcome.", reasoning_content="greet")], None),
    "result as user": ([u("q"), a("looking", reasoning_content="r1"), u("<tool_response>x</tool_response>"),
                        a("done", reasoning_content="r2"), u("<tool_response> is what?")], None),
    "results as users": ([u("q"), a("looking", reasoning_content="r1"), u("<tool_response>x</tool_response>"),
                          a("more", reasoning_content="r2"), u("<tool_response>y</tool_response>")], None),
    "thought": ([u("q"), a(THOUGHT), u("why?")], None),
    "thought last": ([u("q"), a(THOUGHT)], None),
    "thought twice": ([u("q"), a("<think>a</think>b</think>\n\nc"), u("?")], None),
    "thought open": ([u("q"), a("<think>never closed"), u("?")], None),
    "reasoning": ([u("q"), a("forty-two", reasoning_content="\nbecause\n"), u("why?")], None),
    "reasoning last": ([u("q"), a("\nforty-two", reasoning_content="\n\nbecause\n")], None),
    "call": ([u("Weather in Paris?"), a(None, PARIS), t("sunny"), a("Sunny."), u("Thanks")], None),
    "call last": ([u("Weather?"), a(None, PARIS)], None),
    "result last": ([s("Use tools."), u("Weather?"), a(None, PARIS), t("{\"sky\": \"blue \u2600\"}\n")], None),
    "two calls": ([u("Both?"), a(None, PARIS, ROME), t("sunny", 0), t("rain", 1)], None),
    "two calls answered": ([u("Both?"), a(None, PARIS, ROME), t("sunny", 0), t("rain", 1), a("Mixed."), u("ok")], None),
    "two rounds": ([u("Both?"), a(None, PARIS), t("sunny"), a(None, ROME), t("rain"), a("Mixed.")], None),
    "later round": ([u("Paris?"), a(None, PARIS), t("sunny"), a("Sunny."), u("Rome?"), a(None, ROME), t("rain")], None),
    "call and text": ([u("Weather?"), a("Let me look.", PARIS), t("sunny"), a("Sunny.")], None),
    "call and reasoning": ([u("Weather?"), a("", PARIS, reasoning_content="a tool"), t("sunny"),
                            a("Sunny.", reasoning_content="so")], None),
    "result then user": ([u("Weather?"), a(None, PARIS), t("sunny"), u("Never mind")], None),
    "thought after result": ([u("Weather?"), a(None, PARIS), t("sunny"), a("<think>so</think>Sunny.")], None),
    "arguments": ([u("x"), a(None, ("f", {"a": [1, 2.5, True, None, 1e-7], "\u00fc": {"k": "\u4f60 \"q\"\n\\"}, "e": {},
                                          "l": []})), t("ok")], None),
    "arguments as text": ([u("x"), a(None, ("f", '{"city":"Paris",  "n":1}')), t("ok")], None),
    "tools": ([u("Weather?")], [WEATHER]),
    "tools and system": ([s("You are terse."), u("  Weather?\n")], [WEATHER, CLOCK]),
    "tools used": ([u("Weather?"), a(None, PARIS), t("sunny"), a("Sunny."), u("Time?")], [WEATHER, CLOCK]),
    "no tools": ([u("Hello")], []),
}
# Without a generation prompt only these are rendered.
UNPROMPTED = {"user", "turns", "assistant last", "thought last", "reasoning last", "result last", "tools used"}
CONTINUED = {"continue": [s("You are terse."), u("Count to four"), a("one two")],
             "continue later": [u("a"), a("b"), u("c"), a("d e")]}


def needs_turns(messages):
    return any(m["role"] == "tool" or m.get("tool_calls") for m in messages)


def thinks(messages):
    return any("reasoning_content" in m for m in messages)


# ---- references --------------------------------------------------------------------------------

FIX_CLOSE = "a single call is closed, a second round keeps its begin tokens, calls beside text are kept"
FIX_THINK = "reasoning is cut from answers that follow a tool result too"
FIX_V31 = "the published layout opens a turn without reasoning by </think> alone; reasoning is cut everywhere"

END_CALLS = ds("tool calls end") + EOS
CALL = "{%- if message['role'] == 'assistant' and "


def repair_v3(text, closing):
    """Calls and results of the V3 template, in the layout that later templates have."""
    def swap(old, new, n=1):
        nonlocal text
        assert text.count(old) == n, (old, text.count(old))
        text = text.replace(old, new)
    # What opens an assistant turn, and whether the message has calls, is decided once.
    swap(CALL + "message['content'] is none %}{%- set ns.is_tool = false -%}",
         CALL + "message['tool_calls'] %}{{'" + ds("tool outputs end") + "' if ns.is_tool else '" + ASSISTANT + "'}}"
         "{%- set ns.is_tool = false -%}{%- set ns.is_first = false -%}{%- set ns.is_output_first = true -%}"
         "{{ message['content'] or '' }}")
    swap("{{'" + ASSISTANT + ds("tool calls begin"), "{{'" + ds("tool calls begin"))
    swap("{{'" + END_CALLS + "'}}{%- endif %}{%- endfor %}", "{%- endif %}{%- endfor %}{{'" + END_CALLS + "'}}")
    swap(CALL + "message['content'] is not none %}", CALL + "not message['tool_calls'] %}"
         "{%- set ns.is_output_first = true -%}")
    if closing:
        swap("{{'" + ds("tool outputs end") + "' + message['content'] + '" + EOS + "'}}",
             "{{'" + ds("tool outputs end") + "' + message['content'].split('</think>')[-1] + '" + EOS + "'}}")
    # A later block of results begins anew whatever stood between.
    swap("{%- if message['role'] == 'user' %}", "{%- if message['role'] == 'user' %}"
         "{%- set ns.is_output_first = true -%}")
    return text


def replaced(text, *pairs):
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def load(shared, extra):
    """Name -> list of references."""
    config = lambda name: json.loads((shared / "tokenizers" / name / "tokenizer_config.json").read_text())["chat_template"]
    chat = lambda name: (shared / "chat-templates" / name).read_text()
    more = lambda name: (extra / (name + ".jinja")).read_text()
    v3 = config("deepseek-v3")
    v3_text = "{{'" + ASSISTANT + "' + message['content'] + '" + EOS + "'}}"
    r1_text = v3_text.replace("message['content']", "message['content'].split('</think>')[-1]")
    calls_text = "{{ message['content'] or '' }}"
    r1 = replaced(repair_v3(v3, True), (v3_text, r1_text), ("{{'" + ASSISTANT + "'}}", "{{'" + ASSISTANT + "<think>\n'}}"),
                  (calls_text, "{{ (message['content'] or '').split('</think>')[-1] }}"))
    last_system = [("{%- if ns.is_first_sp %}{% set ns.system_prompt = ns.system_prompt + message['content'] %}"
                    "{% set ns.is_first_sp = false %}{%- else %}{% set ns.system_prompt = ns.system_prompt + '\n\n'"
                    " + message['content'] %}{%- endif %}", "{% set ns.system_prompt = message['content'] %}")]
    distill_8b, distill_32b = chat("deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja"), chat("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja")
    distill = replaced(r1, *last_system)
    v31 = chat("deepseek-ai-DeepSeek-V3.1.jinja")
    v31_fixed = replaced(v31, ("<think></think>", "</think>"), ("{{ ns.system_prompt }}", "{{ ns.system_prompt }}{{ v31_tools }}"),
                         ("{%- if ns.is_tool -%}{{message['content'] + '", "{%- if ns.is_tool -%}{{message['content'].split('</think>', 1)[-1] + '"))
    smol = more("chatml-smollm2")
    qwen2 = replaced(smol, ("You are a helpful AI assistant named SmolLM, trained by Hugging Face", "You are a helpful assistant."))
    plain = {"turns": False, "tools": False}
    turns = {"turns": True, "tools": False}
    both = {"turns": True, "tools": True}
    return [
        ("deepseek-llm", more("deepseek-llm"), None, DEEPSEEK | plain),
        ("deepseek-coder", more("deepseek-coder"), None, CODER | plain),
        ("deepseek-v2.5", None, replaced(repair_v3(v3, False), *last_system), DEEPSEEK | turns),
        ("deepseek-v3", v3, repair_v3(v3, False), DEEPSEEK | turns | {"note": FIX_CLOSE}),
        ("deepseek-v3-0324", None, render_0324(False), DEEPSEEK | turns),
        ("deepseek-v3.1", v31, v31_fixed, DEEPSEEK | both | {"args": "object", "note": FIX_V31, "thinking": "thinking"}),
        ("deepseek-r1", None, r1, DEEPSEEK | turns),
        ("deepseek-r1-0528", None, render_0324(True), DEEPSEEK | turns),
        ("deepseek-r1-distill", distill_8b, distill, DEEPSEEK | turns | {"note": FIX_CLOSE + "; " + FIX_THINK}),
        ("deepseek-r1-distill", distill_32b, None, DEEPSEEK | plain | {"args": "object", "thinking": "enable_thinking", "only_set": True}),
        ("llama3", config("llama-3.1"), None, LLAMA | plain),
        ("llama3.1", more("llama3.1"), None, LLAMA | both | {"args": "object", "calls": 1}),
        ("llama3.2", more("llama3.2"), None, LLAMA | both | {"args": "object", "calls": 1, "date": "05 Mar 2025"}),
        ("chatml", more("chatml"), None, QWEN | plain),
        ("chatml-smollm2", smol, None, SMOL | plain),
        ("qwen2", None, qwen2, QWEN | plain),
        ("qwen2.5", more("qwen2.5"), None, QWEN | both | {"args": "object", "null": ""}),
        ("qwen3", config("qwen3"), None, QWEN | both | {"null": "", "thinking": "enable_thinking"}),
    ]


def render_0324(reasons):
    """The documented layout of V3-0324 and R1-0528."""
    def render(messages, add_generation_prompt, **_):
        out = BOS + "\n\n".join(m["content"] for m in messages if m["role"] == "system")
        spoken = [m for m in messages if m["role"] != "system"]
        before = None
        for m in spoken:
            content = m["content"] or ""
            if m["role"] == "user":
                out += USER + content + ASSISTANT
            elif m["role"] == "tool":
                out += "\n" if before == "tool" else ds("tool outputs begin")
                out += ds("tool output begin") + content + ds("tool output end")
            else:
                out += ds("tool outputs end") if before == "tool" else ""
                out += content.split("</think>")[-1] if reasons else content
                calls = [ds("tool call begin") + "function" + ds("tool sep") + c["function"]["name"] + "\n```json\n"
                         + c["function"]["arguments"] + "\n```" + ds("tool call end") for c in m.get("tool_calls", [])]
                out += ds("tool calls begin") + "\n".join(calls) + ds("tool calls end") if calls else ""
                out += EOS
            before = m["role"]
        if before == "tool":
            out += ds("tool outputs end")
        elif before != "user" and add_generation_prompt:
            out += ASSISTANT
        return out
    return render


V31_RULES = ("\nIMPORTANT: ALWAYS adhere to this exact format for tool use:\n" + ds("tool calls begin") + ds("tool call begin")
             + "tool_call_name" + ds("tool sep") + "tool_call_arguments" + ds("tool call end") + "{{additional_tool_calls}}"
             + ds("tool calls end") + "\n\nWhere:\n\n- `tool_call_name` must be an exact match to one of the available tools\n"
             "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n"
             "- For multiple tool calls, chain them directly without separators or spaces\n")
assert hashlib.sha256(V31_RULES.encode()).hexdigest() == "c5a85b6215c49e98bd3821ba6171b333ecdce2fe710cf259814694357788c1e2"


def v31_tools(tools):
    """Tool definitions as the model card of V3.1 writes them."""
    if not tools:
        return ""
    out = "\n\n## Tools\nYou have access to the following tools:\n"
    for tool in tools:
        f = tool["function"]
        out += f"\n### {f['name']}\nDescription: {f['description']}\n\nParameters: {dumps(f['parameters'])}\n"
    return out + V31_RULES


# ---- rendering -----------------------------------------------------------------------------------


def dumps(value, indent=None):
    return json.dumps(value, ensure_ascii=False, indent=indent)


def fail(message):
    raise jinja2.TemplateError(message)


def compiled(template):
    if callable(template):
        return template
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    env.filters["tojson"] = dumps
    env.globals["raise_exception"] = fail
    return env.from_string(template).render


def normalised(messages, facts):
    """Messages as an engine hands them to the template."""
    out = []
    for m in copy.deepcopy(messages):
        if m["role"] == "developer":
            m["role"] = "system"
        if isinstance(m["content"], list):
            m["content"] = "\n".join(p["text"] for p in m["content"])
        if m["content"] is None:
            m["content"] = facts.get("null")
        for c in m.get("tool_calls", []):
            f = c["function"]
            if facts.get("args") == "object" and isinstance(f["arguments"], str):
                return None  # would be quoted twice
            if facts.get("args") != "object" and isinstance(f["arguments"], dict):
                f["arguments"] = dumps(f["arguments"])
        out.append(m)
    return out


def context(messages, tools, gen, thinking, facts):
    c = {"messages": messages, "add_generation_prompt": gen, "bos_token": facts["bos"] or "", "eos_token": facts["eos"]}
    if tools:
        c["tools"] = tools
        c["v31_tools"] = v31_tools(tools)
    if thinking is not None:
        c[facts["thinking"]] = thinking
    if "date" in facts:
        c["date_string"] = facts["date"]
    return c


def attempt(render, c):
    try:
        return render(**copy.deepcopy(c))
    except (jinja2.TemplateError, TypeError):
        return None


def usable(messages, tools, facts):
    if needs_turns(messages) and not facts["turns"] or tools and not facts["tools"]:
        return False
    return all(len(m.get("tool_calls", [])) <= facts.get("calls", 99) for m in messages)


def cases_of(name, shipped, repaired, facts, conversation, messages, tools, gen, thinking, cut):
    plain = normalised(messages, facts)
    if plain is None:
        return
    c = context(plain, tools, gen, thinking, facts)
    original = attempt(compiled(shipped), c) if shipped else None
    text = attempt(compiled(repaired), c) if repaired else original
    assert text is not None, (name, conversation)
    if cut:
        end = text.rindex(plain[-1]["content"].strip()) + len(plain[-1]["content"].strip())
        text, original = text[:end], original[:end] if original else None
    case = {"template": name, "conversation": conversation, "bos": facts["bos"], "eos": facts["eos"],
            "source": "derived" if not shipped else "jinja" if text == original else "fixed"}
    if case["source"] == "fixed":
        case["note"] = facts["note"]
    if cut:
        case["continue"] = True
    else:
        case["add_generation_prompt"] = gen
    if thinking is not None:
        case["thinking"] = thinking
    if "date" in facts:
        case["date"] = facts["date"]
    yield case | {"text": text}


def all_cases(shared, extra):
    for name, shipped, repaired, facts in load(shared, extra):
        modes = [None, False, True] if "thinking" in facts else [None]
        modes = [m for m in modes if m is not None or not facts.get("only_set")]
        for conversation, (messages, tools) in CONVERSATIONS.items():
            if not usable(messages, tools, facts):
                continue
            for gen in (True, False) if conversation in UNPROMPTED else (True,):
                for thinking in modes if gen or thinks(messages) else modes[:1]:
                    yield from cases_of(name, shipped, repaired, facts, conversation, messages, tools, gen, thinking, False)
        for conversation, messages in CONTINUED.items():
            yield from cases_of(name, shipped, repaired, facts, conversation, messages, None, False, None if modes[0] is None else True, True)


def main():
    shared, extra, out = (pathlib.Path(p) for p in sys.argv[1:4])
    conversations = {k: {"messages": m} | ({"tools": x} if x is not None else {}) for k, (m, x) in CONVERSATIONS.items()}
    conversations |= {k: {"messages": m} for k, m in CONTINUED.items()}
    cases = list(all_cases(shared, extra))
    with out.open("w") as f:
        f.write('{"conversations": {\n')
        f.write(",\n".join(f"{dumps(k)}: {dumps(v)}" for k, v in conversations.items()))
        f.write('},\n"cases": [\n')
        f.write(",\n".join(dumps(c) for c in cases))
        f.write("]}\n")
    counts = {k: sum(c["source"] == k for c in cases) for k in ("jinja", "fixed", "derived")}
    print(f"{len(cases)} cases: {counts}")


if __name__ == "__main__":
    main()
