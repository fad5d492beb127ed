"""Every call as a value: which rpc, the request to send, and how to read its response.

`call` is what all of them share; then one module a service, and one for the principals. The clients
add the sending only. Nothing here touches a channel, so all of it is safe from any thread.
"""
