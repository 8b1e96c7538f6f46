"""Runs optillm's server as it is, from its sources, on 127.0.0.1: optillm_server.py OPTILLM-SOURCES OPENAI-SOURCES TYPING-EXTENSIONS-SOURCES [its arguments].

flask, httpx, pydantic and numpy come from the distribution. What it imports at the top for approaches that are not measured (torch, z3, ...) and is not
installed is an empty module here; jiter, which reads JSON for openai's streams, is json. Neither is touched by the approach `moa`.
SPDX-License-Identifier: Apache-2.0"""
import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
import types
from unittest import mock

UNUSED = {"torch", "transformers", "z3", "networkx", "sklearn", "scipy", "cerebras", "math_verify", "litellm", "sympy", "peft", "bitsandbytes", "aiohttp", "tiktoken", "azure", "yaml", "mlx",
          "mlx_lm", "requests"}


class Unused(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in UNUSED else None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__path__ = []
        module.__getattr__ = lambda key: (_ for _ in ()).throw(AttributeError(key)) if key.startswith("__") else mock.MagicMock(name=f"{spec.name}.{key}")
        return module

    def exec_module(self, module):
        pass


def main():
    optillm, openai, typing_extensions = sys.argv[1:4]
    sys.path[:0] = [optillm, openai + "/src", typing_extensions + "/src"]
    sys.meta_path.append(Unused())  # behind the others: what is installed is used
    jiter = types.ModuleType("jiter")
    jiter.from_json = lambda data, **_: json.loads(data)
    if importlib.util.find_spec("jiter") is None:
        sys.modules["jiter"] = jiter
    import flask
    run = flask.Flask.run
    flask.Flask.run = lambda self, host=None, port=None, **more: run(self, host="127.0.0.1", port=port, **more)
    sys.argv[1:] = sys.argv[4:]
    from optillm.server import main as serve
    serve()


main()
