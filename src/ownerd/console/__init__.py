"""The supervisors' page: a web server that shows one ownerd server in a browser.

It has no rights of its own: whatever it shows or does, it asks of AdminService with the token of
the person who looks, through the Python client. `views` say what a page shows, as values without
HTML; `pages` answer requests with them; `templates` and `static` are how that looks. Everything is
served from here, and a page is whole without JavaScript; a few lines of it keep what is shown true.

It is of the extra `console`: only `ownerctl console` and the demo may import it, and late.
"""
