"""`pytest --nbval` compares notebook outputs by the project's rule wherever it is called."""

from notebook_outputs import pytest_configure  # noqa: F401
