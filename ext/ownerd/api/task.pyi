class Refused(Exception):
    code: int
    message: str
    retry_ms: int
    reason: str
    def __init__(self, code: int, message: str, retry_ms: int = 0, reason: str = "") -> None: ...
