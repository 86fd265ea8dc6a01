"""TFDS builders: where each data set comes from, its official splits, and the SHA-256 of its content.

Every module defines one builder class and `CONTENT_SHA256`, the `content_sha256` of its arrays as they are read back.
"""
