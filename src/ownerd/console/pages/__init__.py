"""Requests and their answers: each page asks the server, makes its view, and renders it.

A change is a form that is looked at first, with what it would do, and then sent with an id of its
own, so that sending it twice does it once (R20). After a change the browser is sent back to the
page it was made on, which then says what became of it.
"""
