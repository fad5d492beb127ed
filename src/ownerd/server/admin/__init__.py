"""AdminService: one module per noun, on top of a shared way to answer, check, page and change.

`service` runs the calls; `validate`, `convert` and `pages` know field limits, times and page
tokens; `changes` makes audited, retry-safe changes. The nouns are `lists`, `policies`, `owners`,
`records`, `imports`, `exports`, `campaigns`, `wrapup`, `audit` and `status`.
"""
