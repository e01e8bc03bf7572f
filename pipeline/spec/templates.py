"""Job specs to start from: every key, its default, and what it is for (``wai init TASK``)."""

from __future__ import annotations

from typing import Final

_HEAD: Final = """\
# yaml-language-server: $schema=wai.schema.json
# The line above gives completion in editors; write that file with: wai validate --schema > wai.schema.json
# Every key but task and input has a default; the values below are the defaults, the commented ones are off.

"""

_INPUT: Final = """\
input:
  path: data/*.jsonl                 # file or glob (text: a record a line), folder (a record a file), list, or "-"
  # items: ["a text", "another"]     # instead of path: records written here
  # format: jsonl                    # text | jsonl | csv | tsv | parquet; default: by the suffix (.gz, .zst, .bz2 too)
  # text: "{title}\\n\\n{body}"        # column or template that is sent; default per task
  # id: doc_id                       # column with the record id; default: <file>#<row>, of a whole file its path
  keep: []                           # columns carried to the output, e.g. [title, lang]
  # limit: 1000                      # only the first records
  # where: lang = 'en'               # SQL condition on the columns
"""

_REST: Final = """\
# name: my-job                       # default: the name of this file
output:
  # path: out/my-job                 # default: out/<name>, where wai is started
  include_input: false               # add the text that was sent as a column
  # subtitles: [srt, vtt]            # transcribe: subtitle files to write into media/
  # vectors: float16                 # embed: half the size; int8: a quarter, with a scale for each vector

budget:
  neurons_per_day: 10000             # account-wide, per UTC day; 10,000 are free
  # neurons_total: 50000             # for this job as a whole
  when_spent: stop                   # stop | wait (sleep until 00:00 UTC and go on)
  # reserve_for_others: 2000         # neurons of the day that are left to others, e.g. to production
  # reconcile: true                  # ask Cloudflare what the account used elsewhere; needs Account Analytics: Read
  # unpriced: allow                  # run a model without a published price; the service's meter decides

limits:
  concurrency: 64                    # most requests in flight; the run adapts below it
  # requests_per_minute: 300         # default: the model's documented limit
  # batch_size: 100                  # records per request at most; default: the model's documented maximum
  request_timeout_seconds: 130       # the service itself gives up at about 120
  grace_seconds: 30                  # after Ctrl-C: how long requests in flight may still take
  # deadline: 8h                     # end then as after Ctrl-C; or a time of day here ("07:00"), or 2026-11-24T07:00Z

retry:
  attempts: 6                        # per request
  max_delay_seconds: 60              # longest wait between two attempts
  abort_share: 0.5                   # stop when this share of the last 200 requests failed

dedupe: true                         # equal requests are sent once
cache: true                          # take answers that other runs have paid for (translate)
checkpoint:
  seconds: 1                         # an answer is safe on disk within this time
  rows_per_part: 50000               # rows in one Parquet file

endpoint:
  kind: workers-ai                   # workers-ai | openai | deeplx | whisper-worker | image-worker | emulator
  # base_url: https://api.example.com/v1   # of the server; docs/endpoints.md has an example for each kind
  # api_key_env: MY_SERVER_KEY       # environment variable with the key; default for Cloudflare CLOUDFLARE_API_TOKEN
  # api_key_in: header               # header | password | token | key (a query parameter of that name)
  # gateway: my-gateway              # id of an AI Gateway to go through
  mode: direct                       # direct | queue (Cloudflare's own, for models that have it)
  # account_id_env: OTHER_ACCOUNT_ID # environment variable with the account id; default CLOUDFLARE_ACCOUNT_ID
  # cache_ttl_seconds: 3600          # the AI Gateway keeps answers so long; equal requests cost nothing then
  skip_cache: false                  # true: ask the model even where the AI Gateway has its answer
# endpoints: [{name: main, weight: 3}, {name: other, weight: 1, api_key_env: OTHER}]   # several, instead of endpoint
# fallback_model: "@cf/meta/llama-3.2-3b-instruct"   # answers where the model has no capacity
"""

_MODEL_INFO: Final = """\
# model_info:                        # only for a model that the catalogue does not have
#   input_per_m_tokens: 1075         # neurons per million tokens
#   output_per_m_tokens: 0
"""


def render_template(head: str, given: str = "") -> str:
    """Return a commented job spec that is valid as it is.

    Args:
        head: Task, model and params.
        given: The group ``input:``; default that of texts.
    """
    model_info = () if "model_info:" in head else (_MODEL_INFO,)
    return "\n".join((_HEAD + head, given or _INPUT, _REST, *model_info))
