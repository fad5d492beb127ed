"""The demo: three campaigns dial one contact list through a real server; their logs are checked.

`main` runs it and `story` has its steps; `contacts` reads or makes the list, `server_process` owns
the server, `dialers` simulates the campaigns, `logbook` is what they write down, `holds` and
`checker` judge that, `view` shows it. Neither the server nor the client needs any of it.
"""
