from ranks import runs

__all__ = ["runs"]
