"""The native dial listener: HTTP/2, TLS, authentication; and the bridge from asyncio to the engine.

Uses every folder to its left.
"""
