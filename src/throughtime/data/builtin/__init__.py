"""Data sets that come with Python or with scikit-learn: nothing is downloaded."""

from throughtime.data.builtin.digits import digits
from throughtime.data.builtin.pydoc_topics import pydoc_topics
from throughtime.data.builtin.python_source import python_source

BUILTIN = {"python-source": python_source, "digits": digits, "pydoc-topics": pydoc_topics}
