"""The prefix cache and the scheduler's fields, as clients see them."""
from kit import Server, chat, parallel, test, wait_for

HITS = "hadal_prefix_cache_hits_total"
LONG = " ".join(f"Rule {i}: sentence number {i} must be obeyed by everybody." for i in range(60))


def talk(question, **more):
    body = chat(question, max_tokens=12, temperature=0, **more)
    body["messages"].insert(0, {"role": "system", "content": LONG})
    return body


def cached(answer):
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


@test
def SM_179_a_repeated_prefix_is_found(s):
    salt = {"cache_salt": "SM-179"}
    before = s.metric(HITS)
    first = s.post(talk("Which rule is the first?", **salt)).json
    again = s.post(talk("Which rule is the first?", **salt)).json
    other = s.post(talk("And which is the last one?", **salt)).json
    apart = s.post(talk("Which rule is the first?", cache_salt="another tenant")).json
    assert cached(first) == 0 and cached(apart) == 0
    assert cached(again) % 64 == 0 and cached(again) >= first["usage"]["prompt_tokens"] - 64
    assert 512 < cached(other) <= cached(again)
    assert first["choices"] == again["choices"] == apart["choices"]
    assert s.metric(HITS) - before == cached(again) + cached(other)


@test
def SM_107_choices_share_their_prompt(s):
    before = s.metric(HITS)
    a = s.post(talk("Name any rule.", n=4, cache_salt="choices", seed=3) | {"temperature": 1}).json
    assert len(a["choices"]) == 4 and len({c["message"]["content"] for c in a["choices"]}) > 1
    assert cached(a) == 0 and s.metric(HITS) - before >= 3 * 512


@test
def SM_107_speculation_changes_nothing(s):
    texts = []
    for more in ({}, {"speculate": False}):
        body = chat("Count: one two three one two three one two three", max_tokens=80, temperature=0,
                    ignore_eos=True, **more)
        texts.append(s.post(body).json["choices"])
    assert texts[0] == texts[1]
    a = s.post(chat("Hi", speculate="no"))
    assert a.status == 400 and b"speculate" in a.body, a.body


@test(own=True)
def SM_107_priority_goes_first(_):
    """One place, one long answer in it, and two that wait: the later one is the more urgent."""
    with Server("--max-seqs", "1", "--max-context", "2048") as s:
        ended = []

        def ask(i):
            body = chat("Hi", max_tokens=300 if i == 0 else 5, ignore_eos=True, priority=(0, 5, -5)[i])
            wait_for(lambda: s.metric("hadal_requests_running") + s.metric("hadal_requests_waiting") == i, 30)
            assert s.post(body).status == 200
            ended.append(i)
        parallel(3, ask)
        assert ended == [0, 2, 1], ended
