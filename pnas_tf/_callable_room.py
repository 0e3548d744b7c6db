"""Rooms that can also be called: `pnas_tf.space("proxyless", ...)` beside `pnas_tf.space.mbconv`.

The public function of a verb and the package of its topic bear one name; Python keeps the package
under it as soon as anything imports it. So the package itself passes the call on.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types


def make_callable(package: str) -> None:
    """Lets the package call the function of its own name in `pnas_tf.api`, which is loaded then.

    Args:
        package: full name of a package under `pnas_tf` that is being imported.
    """
    sys.modules[package].__class__ = _CallableRoom


class _CallableRoom(types.ModuleType):
    """A package whose call is that of its function in `pnas_tf.api`."""

    def __call__(self, *args: object, **options: object) -> object:
        return self._function(*args, **options)

    @property
    def _function(self) -> types.FunctionType:
        return getattr(importlib.import_module("pnas_tf.api"), self.__name__.rpartition(".")[2])

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)
