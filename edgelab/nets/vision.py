"""torchvision without PyTorch's compiler.

One of its operators for detection takes a single function from `torch.compile`'s modules, which are as slow to import
as PyTorch itself. Until somebody calls that function, nothing here needs them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_ASKED = "torch._dynamo.utils"


def torchvision() -> ModuleType:
    """The package torchvision, imported without PyTorch's compiler where that is not there yet."""
    if "torchvision" in sys.modules or _COMPILER in sys.modules:
        return importlib.import_module("torchvision")
    stand_in, utils = ModuleType(_COMPILER), ModuleType(_ASKED)
    utils.__dict__["is_compile_supported"] = _is_compile_supported
    for module in (stand_in, utils):  # another thread may ask for it meanwhile
        module.__dict__["__getattr__"] = _real(module, stand_in, utils)
    sys.modules.update({_COMPILER: stand_in, _ASKED: utils})
    try:
        return importlib.import_module("torchvision")
    except (AttributeError, ImportError):
        # A version that asks for more: the compiler itself, then.
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _withdraw(stand_in, utils)
        return importlib.import_module("torchvision")
    finally:
        _withdraw(stand_in, utils)


def _real(module: ModuleType, *stand_ins: ModuleType) -> Callable[[str], Any]:
    """What answers for all else that a stand-in is asked for: the compiler, which is imported then."""

    def asked(name: str) -> Any:
        if name.startswith("__") and (name != "__path__" or module.__name__ == _ASKED):
            raise AttributeError(name)
        _withdraw(*stand_ins)
        return getattr(importlib.import_module(module.__name__), name)

    return asked


def _withdraw(*stand_ins: ModuleType) -> None:
    for module in stand_ins:
        if sys.modules.get(module.__name__) is module:
            del sys.modules[module.__name__]


def _is_compile_supported(device_type: Any) -> Any:
    """The compiler's own answer."""
    return importlib.import_module(_ASKED).is_compile_supported(device_type)
