class Refused(Exception):
    code: int
    message: str
    retry_ms: int
    def __init__(self, code: int, message: str, retry_ms: int = 0) -> None: ...
