"""The demo: three campaigns dial one contact list through a real server; their logs are checked.

`main` runs it and `story` has its steps; `contacts` reads or makes the list, `server_process` owns
the server, `dialers` simulates the campaigns, `logbook` is what they write down, `checker` judges
that by `holds` and `replay` and says so in a `verdict`, `view` shows it. The tests check their
histories with the same checker. Neither the server nor the client needs any of it.
"""
