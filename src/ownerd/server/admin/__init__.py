"""AdminService: one module per noun, on top of a shared way to answer, check, page and change.

`service` runs the calls; `validate`, `convert` and `page_tokens` know field limits, times and page
tokens; `audited_change` makes audited, retry-safe changes. The nouns are `lists`, `policies`,
`owners`, `records`, `imports` (of an `import_stream`), `exports`, `campaigns`, `wrapup`,
`principals`, `audit` and `status`.
"""
