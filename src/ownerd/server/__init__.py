"""The server: configuration, listeners, and the gRPC services in front of the native core."""
