"""What each page shows, as frozen values that know no HTML: made of what the client returned.

Pure functions of their arguments; texts are `words.Say`, so that a test reads them in any language.
"""
